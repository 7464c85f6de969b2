import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import type { LiveOffer } from '../../../../shared/domain/live-migration.js';
import { parseIpv4 } from '../../../../shared/domain/ipv4.js';
import { formatMac, parseMac } from '../../../../shared/domain/mac.js';
import { DirCfgFolder } from '../../../../agent/adapters/disk/dir-cfg-folder.js';
import { openSimHost, type SimHost } from '../../../../agent/adapters/sim/sim-host.js';
import { systemClock } from '../../../../agent/adapters/system/system-clock.js';
import { parseSimOptions } from '../../../../agent/domain/sim-option.js';
import { parseXlCfg } from '../../../../agent/domain/xl-cfg/xl-cfg.js';
import type { Clock } from '../../../../agent/ports/clock.js';
import { guestDiskContract } from '../../../contract/guest-disk-contract.js';
import { toolstackContract } from '../../../contract/toolstack-contract.js';
import { ManualClock } from '../manual-clock.js';

const NEVER = new AbortController().signal;

async function openHost(t: Test, folder: string, options: string[], clock: Clock = systemClock) {
  const cfgFolder = new DirCfgFolder(join(folder, 'xen'), join(folder, 'backup'), clock);
  const host: SimHost = await openSimHost(folder, cfgFolder, parseSimOptions(options), clock);
  return { ...host, cfgFolder, path: (name: string) => join(folder, 'xen', `${name}.cfg`) };
}

t.test('the simulated toolstack is a toolstack', (t) => {
  toolstackContract(t, async (t) => {
    const { toolstack, path } = await openHost(t, t.testdir(), ['boot-ms=20']);
    return { toolstack, name: 'domU', cfgPath: path('domU'), memoryMib: 512, vcpus: 1 };
  });
  t.end();
});

t.test('the simulated guest disk is a guest disk', (t) => {
  guestDiskContract(t, async (t) => {
    const root = t.testdir();
    const { path } = await openHost(t, root, []);
    const cfgPath = path('domU');
    return {
      guest: { name: 'domU', cfgPath, cfg: parseXlCfg(readFileSync(cfgPath, 'latin1')) },
      open: async () => (await openHost(t, root, [])).guestDisk,
    };
  });
  t.end();
});

t.test('the simulated host', (t) => {
  t.test('begins as copies of one image, once', async (t) => {
    const root = t.testdir();
    const first = await openHost(t, root, ['vms=3']);
    const files = await first.cfgFolder.list();
    t.equal(files.length, 3);
    const macs = files.map((file) => (file.kind === 'text' ? /mac=([\dA-F:]+)/.exec(file.text)?.[1] : undefined));
    t.equal(new Set(macs).size, 1, 'every copy of an image has its MAC');
    for (const file of files) t.ok(file.kind === 'text' && parseXlCfg(file.text));
    t.ok(first.toolstack.isSimulated);
    rmSync(first.path('domU2'));
    const id = await first.deployment.readDeploymentId();
    const second = await openHost(t, root, ['vms=9']);
    t.equal((await second.cfgFolder.list()).length, 2);
    t.equal(await second.deployment.readDeploymentId(), id);
    t.not(await (await openHost(t, t.testdir({ x: {} }), [])).deployment.readDeploymentId(), id);
  });

  t.test('is one host, though several make it at the same time', async (t) => {
    const root = t.testdir();
    const hosts = await Promise.all(Array.from({ length: 10 }, () => openHost(t, root, ['vms=3'])));
    const ids = await Promise.all(hosts.map(({ deployment }) => deployment.readDeploymentId()));
    t.equal(new Set(ids).size, 1);
    t.equal((await hosts[0]?.cfgFolder.list())?.length, 3);
    t.strictSame(readdirSync(root).sort(), ['world.json', 'xen'], 'no draft is left');
  });

  t.test('keeps its domains while the agent is gone', async (t) => {
    const root = t.testdir();
    const clock = new ManualClock();
    const first = await openHost(t, root, ['boot-ms=1000'], clock);
    await first.toolstack.create(first.path('domU'), NEVER);
    const [before] = await first.toolstack.listDomains();
    t.equal(before?.state, 'starting');
    await clock.advance(500);
    const second = await openHost(t, root, ['boot-ms=1000'], clock);
    t.match(await second.toolstack.listDomains(), [{ uuid: before?.uuid, state: 'starting' }]);
    const early = (await second.toolstack.sample())[0]?.metrics;
    await clock.advance(60_000);
    t.match(await second.toolstack.listDomains(), [{ uuid: before?.uuid, state: 'running' }]);
    const late = (await second.toolstack.sample())[0]?.metrics;
    t.ok((late?.rxBytes ?? 0) > (early?.rxBytes ?? 0));
    t.ok((late?.cpuSeconds ?? 99) <= 60.5 && (late?.cpuSeconds ?? 0) > 0, 'one vcpu uses no more than its time');
    writeFileSync(join(root, 'world.json'), '{}');
    await t.rejects(openHost(t, root, []), { code: 'wrong_state' });
  });

  t.test('fails where it is told to', async (t) => {
    const options = [
      'boot-ms=0',
      'fail=start:domU2',
      'fail=destroy:domU',
      'fail=shutdown:domU',
      'fail=configure:domU3',
      'fail=restore:domU4',
    ];
    const { toolstack, guestDisk, path } = await openHost(t, t.testdir(), options);
    await t.rejects(toolstack.create(path('domU2'), NEVER), { code: 'wrong_state' });
    await toolstack.create(path('domU'), NEVER);
    await t.rejects(toolstack.destroy('domU', NEVER), { code: 'wrong_state' });
    await t.rejects(toolstack.shutdown('domU', 1, NEVER), { code: 'wrong_state' });
    t.equal((await toolstack.listDomains()).length, 1);
    const guest = (name: string) => ({
      name,
      cfgPath: path(name),
      cfg: parseXlCfg(readFileSync(path(name), 'latin1')),
    });
    const nothing = { vifs: [], hostname: undefined };
    await t.rejects(guestDisk.write(guest('domU3'), nothing, NEVER), { code: 'wrong_state' });
    await t.rejects(guestDisk.write(guest('domU'), nothing, NEVER), { code: 'wrong_state' }, 'it runs');
    await t.rejects(guestDisk.restore(guest('domU'), NEVER), { code: 'wrong_state' }, 'it runs');
    await t.rejects(guestDisk.restore(guest('domU4'), NEVER), { code: 'wrong_state', message: /restore of domU4/ });
  });

  t.test('has guests that ignore a shutdown', async (t) => {
    const clock = new ManualClock();
    const { toolstack, path } = await openHost(t, t.testdir(), ['ignore-shutdown=domU'], clock);
    await toolstack.create(path('domU'), NEVER);
    const asked = t.rejects(toolstack.shutdown('domU', 5, NEVER), { code: 'timeout' });
    await clock.advance(5000);
    await asked;
    t.equal((await toolstack.listDomains()).length, 1);
    const abort = new AbortController();
    const cut = t.rejects(toolstack.shutdown('domU', 5, abort.signal));
    abort.abort(new Error('enough'));
    await cut;
    t.equal(clock.timers, 0);
  });

  t.test('has a wire on which guests and strangers answer', async (t) => {
    const { toolstack, guestDisk, wire, path } = await openHost(t, t.testdir(), ['boot-ms=0', 'in-use=10.0.0.5']);
    const cfg = parseXlCfg(readFileSync(path('domU'), 'latin1'));
    const guest = { name: 'domU', cfgPath: path('domU'), cfg };
    const address = parseIpv4('10.0.0.7');
    const [broadcast, gateway] = [parseIpv4('10.0.3.255'), parseIpv4('10.0.3.254')];
    const settings = { prefixLength: 22, broadcast, gateway, dns: [], domain: '' };
    const vif = { index: 0, mac: parseMac('00:16:3e:00:00:07'), address, settings, hasDefaultRoute: true };
    const change = await guestDisk.write(guest, { vifs: [vif], hostname: 'h' }, NEVER);
    t.strictSame(await guestDisk.read(guest), { addresses: new Map([[0, address]]), hostname: 'h' });
    t.match(await wire.probe(address), { kind: 'silent' });
    await toolstack.create(path('domU'), NEVER);
    const answer = await wire.probe(address);
    t.equal(answer.kind === 'answered' && formatMac(answer.mac), '00:16:3e:1e:5b:0c');
    t.match(await wire.probe(parseIpv4('10.0.0.5')), { kind: 'answered' });
    t.match(await wire.probe(parseIpv4('10.0.0.6')), { kind: 'silent' });
    await change.undo();
    t.strictSame(await guestDisk.read(guest), { addresses: new Map(), hostname: undefined });
  });
  t.end();
});

t.test('simulated domains go to other simulated hosts', async (t) => {
  const root = t.testdir({ a: {}, b: {} });
  const [from, to] = await Promise.all(['a', 'b'].map((name) => openHost(t, join(root, name), ['boot-ms=20'])));
  if (!from || !to) throw new Error('two were asked for');
  const offerOf = async (id: string): Promise<LiveOffer> => ({
    ...{
      name: 'domU',
      uuid: '',
      memoryMib: 512,
      cfgText: '',
      ...(await from.mover.offer(id, { disks: ['/opt/disk'], isPv: true })),
    },
  });
  await from.toolstack.create(from.path('domU'), NEVER);
  const [before] = await from.toolstack.listDomains();
  const admission = await to.mover.admit('id1', to.path('domU'), await offerOf('id1'));
  await from.mover.handOver('id1', await offerOf('id1'), admission);
  t.strictSame([await from.toolstack.listDomains(), await to.toolstack.listDomains()], [[], []], 'on its way');
  for (let times = 0; times < 2; times++) await to.mover.closeArrival('id1');
  t.match(await to.toolstack.listDomains(), [{ name: 'domU', uuid: before?.uuid }]);
  t.ok(existsSync(join(root, 'b', 'disks', 'opt', 'disk')), 'and its disks are seen there');
  await to.toolstack.destroy('domU', NEVER);
  await from.toolstack.create(from.path('domU'), NEVER);
  const second = await to.mover.admit('id2', to.path('domU'), await offerOf('id2'));
  await to.mover.closeArrival('id2');
  await t.rejects(from.mover.handOver('id2', await offerOf('id2'), second), { code: 'wrong_state' });
  t.match([await from.toolstack.listDomains(), await to.toolstack.listDomains()], [[{ name: 'domU' }], []]);
  t.strictSame(readdirSync(join(root, 'b', 'arrivals')), []);
});
