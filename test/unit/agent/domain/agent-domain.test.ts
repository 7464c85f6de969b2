import fc from 'fast-check';
import t from 'tap';
import {
  checkFollowed,
  checkSamples,
  checkXen,
  isTellingSerial,
  planOffer,
  planSamples,
} from '../../../../agent/domain/live-move.js';
import { backoffMs } from '../../../../agent/domain/backoff.js';
import { lastLines } from '../../../../agent/domain/console-log.js';
import { planConfigure } from '../../../../agent/domain/configure-plan.js';
import { xenToolsCommand, xenToolsConfig, xenToolsFull } from '../../../../agent/domain/install/xen-tools.js';
import type { NewDisk } from '../../../../agent/domain/new-disk.js';
import { isExpired, renewalDueMs } from '../../../../agent/domain/identity.js';
import { describeVms, nameOfPath, type CfgFact } from '../../../../agent/domain/observed-vm.js';
import { keepIn } from '../../../../agent/domain/own-store.js';
import { parseSimOptions } from '../../../../agent/domain/sim-option.js';
import { diffState } from '../../../../agent/domain/state-diff.js';
import type { Domain, ObservedVm } from '../../../../agent/domain/vm.js';
import { listDisks } from '../../../../agent/domain/xl-cfg/disk.js';
import { parseXlCfg } from '../../../../agent/domain/xl-cfg/xl-cfg.js';
import { parseIpv4 } from '../../../../shared/domain/ipv4.js';
import { formatMac, parseMac } from '../../../../shared/domain/mac.js';
import { bridgesOf } from '../fake-host.js';

const SETTINGS = {
  prefixLength: 14,
  broadcast: parseIpv4('10.183.255.255'),
  gateway: parseIpv4('10.183.255.254'),
  dns: [],
  domain: '',
};

function cfgFile(path: string, text: string, address?: string): CfgFact {
  const addresses = new Map(address === undefined ? [] : [[0, parseIpv4(address)]]);
  return { kind: 'parsed', path, cfg: parseXlCfg(text), addresses };
}

function domain(name: string, uuid: string, state: Domain['state'] = 'running'): Domain {
  return { name, uuid, state, memoryMib: 256, vcpus: 2 };
}

const NAMED = "name='domU'\nmemory='512'\nvif=['mac=00:16:3E:00:00:01, bridge=eth0']\n";

t.test('the wait between two attempts grows, is spread, and has bounds', (t) => {
  t.equal(backoffMs(0, 0), 200);
  t.equal(backoffMs(0, 0.5), 300);
  t.equal(backoffMs(20, 0), 200);
  t.equal(backoffMs(20, 1 - 2 ** -53), 30_000);
  t.equal(backoffMs(2000, 0.5), 15_100);
  fc.assert(
    fc.property(fc.nat(5000), fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), (failures, random) => {
      const ms = backoffMs(failures, random);
      return ms >= 200 && ms <= 30_000 && backoffMs(failures + 1, random) >= ms;
    }),
  );
  t.end();
});

t.test('a certificate is renewed at two thirds of its life', (t) => {
  const identity = { notBeforeMs: 1000, notAfterMs: 4000 } as Parameters<typeof renewalDueMs>[0];
  t.equal(renewalDueMs(identity), 3000);
  t.notOk(isExpired(identity, 3999));
  t.ok(isExpired(identity, 4000));
  t.end();
});

t.test('files and domains make VMs', (t) => {
  const show = (vms: readonly ObservedVm[]): string[] => vms.map((vm) => `${vm.key} ${vm.name} ${vm.state}`);
  const cases: { name: string; files: CfgFact[]; domains: Domain[]; want: string[] }[] = [
    {
      name: 'a file alone is stopped',
      files: [cfgFile('/x/a.cfg', NAMED)],
      domains: [],
      want: ['/x/a.cfg domU stopped'],
    },
    {
      name: 'its domain is found by name',
      files: [cfgFile('/x/a.cfg', NAMED)],
      domains: [domain('domU', 'u1', 'starting')],
      want: ['/x/a.cfg domU starting'],
    },
    {
      name: 'a domain without a file is told by its uuid',
      files: [],
      domains: [domain('other', 'u2')],
      want: ['domain:u2 other running'],
    },
    {
      name: 'of two files of one name, nobody can tell which one runs',
      files: [cfgFile('/x/a.cfg', NAMED), cfgFile('/x/b.cfg', NAMED)],
      domains: [domain('domU', 'u1')],
      want: ['/x/a.cfg domU unknown', '/x/b.cfg domU unknown'],
    },
    {
      name: 'two stopped files of one name are legal',
      files: [cfgFile('/x/a.cfg', NAMED), cfgFile('/x/b.cfg', NAMED)],
      domains: [],
      want: ['/x/a.cfg domU stopped', '/x/b.cfg domU stopped'],
    },
    {
      name: 'a uuid tells them apart',
      files: [cfgFile('/x/a.cfg', `${NAMED}uuid='U1'\n`), cfgFile('/x/b.cfg', `${NAMED}uuid='u9'\n`)],
      domains: [domain('domU', 'u1')],
      want: ['/x/a.cfg domU running', '/x/b.cfg domU stopped'],
    },
    {
      name: 'a file that cannot be read is never taken for stopped',
      files: [{ kind: 'broken', path: '/x/py.cfg', problem: 'no' }],
      domains: [domain('py', 'u3')],
      want: ['/x/py.cfg py unknown', 'domain:u3 py running'],
    },
    {
      name: 'a file without a name has the name of its file, and a problem',
      files: [cfgFile('/x/n.cfg', 'memory=1\n')],
      domains: [],
      want: ['/x/n.cfg n stopped'],
    },
  ];
  for (const c of cases) t.strictSame(show(describeVms(c.files, c.domains)), c.want, c.name);

  const [vm] = describeVms([cfgFile('/x/a.cfg', NAMED, '10.0.0.9')], []);
  t.match(vm, { memoryMib: 512, vcpus: 1, problem: undefined });
  t.strictSame(vm?.vifs, [
    { index: 0, mac: parseMac('00:16:3e:00:00:01'), bridge: 'eth0', guestAddress: parseIpv4('10.0.0.9') },
  ]);
  t.equal(describeVms([cfgFile('/x/a.cfg', NAMED)], [domain('domU', 'u1')])[0]?.memoryMib, 256, 'what runs counts');
  const odd = cfgFile('/x/o.cfg', "name='o'\nmemory='-5'\nvcpus=4294967296\n");
  t.match(describeVms([odd], []), [{ memoryMib: 0, vcpus: 1 }], 'numbers that no host can give');
  t.ok(describeVms([cfgFile('/x/n.cfg', 'memory=1\n')], [])[0]?.problem);
  t.equal(nameOfPath('/etc/xen/web-1.cfg'), 'web-1');
  t.end();
});

t.test('a change of state holds what differs, and nothing else', (t) => {
  const before = describeVms([cfgFile('/x/a.cfg', NAMED), cfgFile('/x/b.cfg', "name='b'\n")], [domain('c', 'u')]);
  t.equal(
    diffState(before, describeVms([cfgFile('/x/b.cfg', "name='b'\n"), cfgFile('/x/a.cfg', NAMED)], [domain('c', 'u')])),
    undefined,
  );
  const after = describeVms([cfgFile('/x/a.cfg', NAMED, '10.0.0.1'), cfgFile('/x/b.cfg', "name='b'\n")], []);
  const change = diffState(before, after);
  t.strictSame(
    change?.changed.map((vm) => vm.key),
    ['/x/a.cfg'],
  );
  t.strictSame(change?.gone, ['domain:u']);
  t.equal(diffState([], before)?.changed.length, 3);
  const moreVifs = before.map((vm) => ({
    ...vm,
    vifs: [...vm.vifs, { index: 9, mac: undefined, bridge: undefined, guestAddress: undefined }],
  }));
  t.equal(diffState(before, moreVifs)?.changed.length, 3);
  t.end();
});

t.test('a configuration is planned before anything is touched', (t) => {
  const text = '# by hand\nname = "domU"\nvif = [ \'ip=10.0.0.3, mac=00:16:3E:00:00:01, bridge=br0\' ]\n';
  const cfg = parseXlCfg(text);
  const [vm] = describeVms([cfgFile('/x/a.cfg', text)], []);
  if (vm === undefined) throw new Error('no VM');
  const address = parseIpv4('10.180.0.7');
  const vif = { index: 0, mac: parseMac('00:16:3e:b4:00:07'), address, settings: SETTINGS, hasDefaultRoute: true };
  const steps = planConfigure(vm, cfg, { vifs: [vif], hostname: 'domU' }, bridgesOf('br0'));
  t.strictSame(
    steps.map((step) => step.kind),
    ['probe', 'note intent', 'write guest', 'write cfg'],
  );
  t.match(steps[0], { address, mac: vif.mac, bridge: 'br0' });
  t.match(steps[3], {
    before: text,
    after: text.replace('ip=10.0.0.3, ', '').replace('00:16:3E:00:00:01', formatMac(vif.mac)),
  });

  const same = { ...vif, mac: parseMac('00:16:3e:00:00:01') };
  const clean = parseXlCfg(text.replace('ip=10.0.0.3, ', ''));
  t.strictSame(
    planConfigure(vm, clean, { vifs: [same], hostname: undefined }, bridgesOf('br0')).map((step) => step.kind),
    ['probe', 'note intent', 'write guest'],
    'the same MAC in capitals stays as it is written',
  );
  t.throws(
    () => planConfigure({ ...vm, state: 'running' }, cfg, { vifs: [vif], hostname: undefined }, bridgesOf('br0')),
    {
      code: 'wrong_state',
    },
  );
  t.throws(
    () => planConfigure({ ...vm, state: 'unknown' }, cfg, { vifs: [vif], hostname: undefined }, bridgesOf('br0')),
    {
      code: 'wrong_state',
    },
  );
  t.throws(() => planConfigure(vm, cfg, { vifs: [{ ...vif, index: 1 }], hostname: undefined }, bridgesOf('br0')), {
    code: 'not_found',
  });
  t.end();
});

t.test('what xen-create-image is told of a lease', (t) => {
  const mac = parseMac('00:16:3e:b4:00:07');
  const vif = { index: 0, mac, address: parseIpv4('10.180.0.7'), settings: SETTINGS, hasDefaultRoute: true };
  const source = { kind: 'installer', installer: 'xen-tools', dist: 'bookworm' } as const;
  const common = { source, hostname: 'web', sizeBytes: 2 ** 30, hasSwap: false, boot: { kind: 'pygrub' } } as const;
  const settings = { ...common, folder: '/w', modules: '/w/modules', config: '/w/lease.conf' };
  const network = (bridge?: string): readonly string[] =>
    xenToolsCommand({ ...settings, vif: { ...vif, bridge } }).filter((word) =>
      /^--(config|ip|mac|netmask|broadcast|gateway|bridge|nameserver|(no)?dhcp)\b/.test(word),
    );
  const told = [
    '--config=/w/lease.conf',
    '--ip=10.180.0.7',
    '--mac=00:16:3e:b4:00:07',
    '--netmask=255.252.0.0',
    '--broadcast=10.183.255.255',
    '--gateway=10.183.255.254',
  ];
  t.strictSame(network('br0'), [...told, '--bridge=br0']);
  t.strictSame(network(), told, 'a script of its own, without a bridge');
  t.equal(xenToolsConfig(vif), 'dhcp = \n', 'whatever xen-tools.conf says');
  const dns = ['10.0.0.1', '10.0.0.2'].map(parseIpv4);
  t.equal(xenToolsConfig({ ...vif, settings: { ...SETTINGS, dns } }), 'dhcp = \nnameserver = 10.0.0.1 10.0.0.2\n');
  t.equal(xenToolsFull('Running hooks\nDone\n', 2 ** 25), undefined);
  t.match(xenToolsFull("cp: error writing '/x/a': No space left on device\nDone\n", 2 ** 25), {
    ...{ code: 'invalid', message: 'The system does not fit into a disk of 32 MiB' },
    details: { hint: /^give it more: --disk MIB; or free room on the host/, output: /^cp: error writing/ },
  });
  t.end();
});

t.test('qcow2 images of one folder have names of their own', (t) => {
  const paths = ['/srv/web.root', '/srv/web.swap', '/srv/web.data'];
  const cfg = parseXlCfg(
    `name='web'\ndisk=[${paths.map((path, n) => `'file:${path},xvda${String(n + 1)},w'`).join(', ')}]\n`,
  );
  const disks = paths.map((path): NewDisk => ({
    source: { kind: 'image', path, format: 'raw' },
    place: { path, storage: 'copy' },
  }));
  const kept = keepIn({ kind: 'qcow2' }, { name: 'web', cfg, disks, isRenewed: false });
  const wanted = ['/srv/web.qcow2', '/srv/web.swap.qcow2', '/srv/web.data.qcow2'];
  t.strictSame(
    kept.disks.map(({ place }) => place.path),
    wanted,
  );
  t.match(
    listDisks(kept.cfg),
    wanted.map((target) => ({ target, format: 'qcow2' })),
  );
  t.end();
});

t.test('--sim options', (t) => {
  t.match(parseSimOptions([]), { vms: 4, bootMs: 1500, seed: 1 });
  const options = parseSimOptions([
    'vms=2',
    'vms=8',
    'boot-ms=0',
    'copy-ms=7',
    'seed=9',
    'fail=start:domU2',
    'fail=destroy:a:b',
    'ignore-shutdown=domU',
    'in-use=10.0.0.1',
    'in-use=10.0.0.2',
  ]);
  t.match(options, { vms: 8, bootMs: 0, copyMs: 7, seed: 9 });
  t.strictSame([...options.failures], ['start:domU2', 'destroy:a:b']);
  t.strictSame([...options.ignoresShutdown], ['domU']);
  t.equal(options.inUse.size, 2);
  for (const bad of [
    'vmz=1',
    'vms',
    'vms=',
    'vms=1001',
    'vms=-1',
    'vms=1e1',
    'boot-ms=600001',
    'copy-ms=600001',
    'fail=start',
    'fail=boot:x',
    'fail=start:',
    'in-use=10.0.0',
    '',
    'toString=1',
  ]) {
    t.throws(() => parseSimOptions([bad]), { code: 'invalid' }, bad);
  }
  t.end();
});

t.test('the last lines of a log', (t) => {
  const cases = [
    { name: 'all of them', text: 'a\nb\n', lines: 5, isWhole: true, want: 'a\nb\n' },
    { name: 'the last', text: 'a\nb\nc\n', lines: 1, isWhole: true, want: 'c\n' },
    { name: 'what has no end yet counts', text: 'a\nb\nlogin: ', lines: 2, isWhole: true, want: 'b\nlogin: ' },
    { name: 'empty lines count', text: 'a\n\n\n', lines: 2, isWhole: true, want: '\n\n' },
    { name: 'what was cut is no line', text: 'half\na\n', lines: 5, isWhole: false, want: 'a\n' },
    { name: 'one line alone, cut', text: 'half', lines: 5, isWhole: false, want: 'half' },
    { name: 'nothing', text: '', lines: 5, isWhole: true, want: '' },
  ];
  for (const { name, text, lines, isWhole, want } of cases)
    t.equal(Buffer.from(lastLines(Buffer.from(text), lines, isWhole)).toString(), want, name);
  t.end();
});

t.test('whether a device is the same on two hosts', (t) => {
  const offered = { path: '/dev/sdb', digests: ['a', 'b', 'c', '0'] };
  const cases = [
    { name: 'the same bytes', there: ['a', 'b', 'c', '0'], again: ['a', 'b', 'c', '0'], want: undefined },
    {
      name: 'what the guest wrote meanwhile does not count',
      there: ['a', 'x', 'c', '0'],
      again: ['a', 'y', 'c', '0'],
      want: undefined,
    },
    {
      name: 'one block that stayed is other there',
      there: ['a', 'b', 'x', '0'],
      again: ['a', 'b', 'c', '0'],
      want: /other bytes/,
    },
    { name: 'too much was written', there: ['x', 'b', 'x', 'x'], again: ['x', 'b', 'x', 'x'], want: /writes too much/ },
    { name: 'only zeros stayed', there: ['x', 'x', 'x', '0'], again: ['y', 'y', 'y', '0'], want: /empty/ },
    { name: 'less was read there', there: ['a', 'b', 'c'], again: ['a', 'b', 'c', '0'], want: /not read alike/ },
  ];
  for (const { name, there, again, want } of cases) {
    if (want === undefined) t.doesNotThrow(() => checkSamples(offered, there, again, '0'), name);
    else t.throws(() => checkSamples(offered, there, again, '0'), { message: want, details: { hint: /--cold/ } }, name);
  }
  const zeros = { path: '/dev/sdb', digests: ['0', '0'] };
  t.throws(() => checkSamples(zeros, ['0', '0'], ['0', '0'], '0'), { message: /it is empty/ });
  t.throws(() => checkSamples({ path: '/dev/sdb', digests: [] }, [], [], '0'), { code: 'wrong_state' });
  const offsets = planSamples({ path: '/dev/sdb', sizeBytes: 1024 ** 4 + 512 }, () => 0.5);
  t.strictSame(offsets, [0, 2 ** 39, 2 ** 40 - 65_536], 'the first, the last and some between');
  t.throws(() => planSamples({ path: '/dev/sdb', sizeBytes: 65_536 }, () => 0), { message: /too small/ });
  const serials = ['QM00001', 'disk1', 'data-data-data', '000000000000', 'S3Z8NB0K123456X', 'lab-shared-disk-1'];
  t.strictSame(serials.filter(isTellingSerial), ['S3Z8NB0K123456X', 'lab-shared-disk-1']);
  const versions = [
    ['4.17.7', '4.17.2'],
    ['4.17.7', '4.19.0'],
    ['4.17.7', '5.0'],
    ['4.17.7', '4.16.9'],
    ['5.1', '4.19'],
    ['', '4.17'],
    ['4.17', ''],
  ];
  const isTaken = ([from = '', to = '']: readonly string[]): boolean => {
    try {
      checkXen(from, to);
      return true;
    } catch {
      return false;
    }
  };
  t.strictSame(versions.map(isTaken), [true, true, true, false, false, false, false]);

  const about = { cfgPath: '/etc/xen/web.cfg', uuid: undefined, problem: undefined, memoryMib: 64, vcpus: 1, vifs: [] };
  const running = { ...about, key: 'k', name: 'web', state: 'running' } as const;
  const isFollowed = (line: string, hasShadowPaging: boolean): boolean => {
    const guest = planOffer(running, parseXlCfg(`${line}\ndisk = ['phy:/dev/sdb,xvda,w']\n`));
    t.strictSame(guest.disks, ['/dev/sdb']);
    try {
      checkFollowed(hasShadowPaging, guest);
      return true;
    } catch {
      return false;
    }
  };
  const types = ['', "type = 'pv'", "builder = 'linux'", "type = 'pvh'", "type = 'hvm'", "builder = 'hvm'"];
  t.strictSame(
    types.map((line) => isFollowed(line, false)),
    [false, false, false, true, true, true],
    'by shadow paging alone',
  );
  t.ok(types.every((line) => isFollowed(line, true)));
  t.end();
});
