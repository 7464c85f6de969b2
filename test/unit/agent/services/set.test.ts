import { existsSync, mkdirSync, readdirSync, readlinkSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pino } from 'pino';
import t from 'tap';
import { DirAutostart } from '../../../../agent/adapters/disk/dir-autostart.js';
import { RecordCopyLog } from '../../../../agent/adapters/disk/record-copy-log.js';
import { RecordFormerCfgs } from '../../../../agent/adapters/disk/record-former-cfgs.js';
import { RecordIntentLog } from '../../../../agent/adapters/disk/record-intent-log.js';
import type { Order, OrderAction } from '../../../../agent/domain/order.js';
import { planSet } from '../../../../agent/domain/set-plan.js';
import { parseXlCfg } from '../../../../agent/domain/xl-cfg/xl-cfg.js';
import { VmConfigurer } from '../../../../agent/services/configure-vm.js';
import { Observer } from '../../../../agent/services/observe.js';
import { VmLooker } from '../../../../agent/services/vm-looker.js';
import { checkSetting, parseSetting } from '../../../../shared/domain/vm-setting.js';
import { MemoryRecordStore } from '../../../fakes/memory-record-store.js';
import { carryOutOf, FakeDisks, FakeHost } from '../fake-host.js';
import { ManualClock } from '../manual-clock.js';

const NEVER = new AbortController().signal;
const CFG = `# the tutorial's
name    = 'web'   # do not change
memory  = '512'
maxmem = 1024
on_crash = "restart"
extra = 'root=/dev/xvda2'
vif = [ 'mac=00:16:3e:00:00:01' ]
`;

function planned(order: { memoryMib?: number; vcpus?: number; settings?: string[] }, limits?: [number, number]) {
  const { memoryMib, vcpus, settings = [] } = order;
  const parsed = settings.map((text) => parseSetting(text)!);
  const most = limits && { memoryMib: limits[0], vcpus: limits[1] };
  const plan = planSet('web', parseXlCfg(CFG), { memoryMib, vcpus, settings: parsed }, most);
  return { ...plan, text: plan.cfg.text };
}

t.test('a look at a VM', async (t) => {
  const host = new FakeHost();
  const disks = new FakeDisks();
  const clock = new ManualClock();
  const copies = new RecordCopyLog(new MemoryRecordStore());
  const consoles = { openLog: () => Promise.resolve(Readable.from([Buffer.from('one\n'), Buffer.from('two\n')])) };
  const looker = new VmLooker({ cfgFolder: host, disks, copies, consoles, clock });
  const key = host.addVm('web', 'bridge=eth0');
  const vm = (await new Observer(host, host, host, host.autostart).find(key))!;
  const specs = [
    ['/a.img,raw,xvda,w', '/gone.img,raw,xvdb,r', '/dev/sdz,raw,xvdc,w', ',raw,hdc:cdrom,r', '/v.vhd,vhd,xvde,w'],
    ['format=raw,vdev=xvdf,access=rw,script=block-iscsi,target=iqn=x'],
  ].flat();
  host.files.set(key, `name = 'web'\ndisk = [ ${specs.map((spec) => `'${spec}'`).join(', ')} ]\n`);
  disks.sizes.set('/a.img', 1024).set('/v.vhd', 512);
  const made = { path: '/a.img', storage: 'qcow2', origin: '/base.img' } as const;
  await copies.put({ cfgPath: key, cfgText: '', disks: [made], isWhole: true });
  const look = await looker.look(vm, NEVER);
  t.strictSame(look.cfg[0], { key: 'name', values: ['web'], isList: false });
  t.equal(Buffer.from(look.consoleTail).toString(), 'one\ntwo\n');
  t.strictSame(look.notKnown, []);
  t.match(look.disks, [
    { vdev: 'xvda', sizeBytes: 1024, usedBytes: 1024, origin: '/base.img', storage: 'qcow2', problem: undefined },
    { vdev: 'xvdb', isReadOnly: true, sizeBytes: 0, storage: undefined, problem: 'it is not there' },
    { vdev: 'xvdc', problem: 'it is not there, or no logical volume' },
    { vdev: 'hdc', target: '', problem: undefined },
    { vdev: 'xvde', sizeBytes: 0, usedBytes: 512, problem: undefined },
    { vdev: 'xvdf', problem: /block-iscsi/ },
  ]);

  disks.find = () => new Promise(() => undefined);
  const late = looker.look(vm, NEVER);
  await clock.advance(0);
  await clock.advance(3_000);
  const {
    cfg,
    disks: [first],
    consoleTail,
    notKnown,
  } = await late;
  t.ok(cfg.length > 0 && consoleTail.length > 0, 'a volume group that hangs holds nothing else up');
  t.match([...notKnown, first?.problem], [/did not tell in 3 s/]);

  const byHand = await looker.look({ ...vm, cfgPath: undefined }, NEVER);
  t.match(byHand, { cfg: [], disks: [], notKnown: ['cfg: the domain was made by hand, without one'] });
});

t.test('a VM that is deleted leaves no entry that would start it', async (t) => {
  const host = new FakeHost();
  const source = host.addVm('web', 'bridge=eth0');
  const disks = new FakeDisks();
  const configurer = { settle: () => Promise.resolve() } as unknown as VmConfigurer;
  const carryOut = carryOutOf(host, configurer, disks);
  const key = '/xen/copy.cfg';
  const run = (vmKey: string, action: OrderAction) =>
    carryOut({ orderId: 'o', vmKey, timeoutMs: 60_000, action }, () => undefined, NEVER);
  await run(key, { kind: 'copy', sourceKey: source, name: 'copy', uuid: '', shape: {} });
  for (const each of [source, key]) await run(each, { kind: 'setAutostart', isOn: true });
  t.strictSame([...host.started], [source, key]);
  await run(key, { kind: 'remove' });
  t.notOk(host.files.has(key));
  t.strictSame([...host.started], [source]);
});

t.test('the cfg', (t) => {
  const cases = [
    { name: "keeps the author's quotes", order: { memoryMib: 256 }, want: CFG.replace("'512'", "'256'") },
    {
      name: 'allows the most to grow',
      order: { memoryMib: 2048 },
      want: CFG.replace("'512'", "'2048'").replace('1024', '2048'),
    },
    {
      name: 'is not touched by what it says already',
      order: { memoryMib: 512, settings: ['on_crash=restart'] },
      want: CFG,
    },
    { name: 'gets a key that it has not', order: { vcpus: 2 }, want: `${CFG}vcpus = 2\n` },
    {
      name: 'gets text in its quotes',
      order: { settings: ['on_crash=preserve'] },
      want: CFG.replace('"restart"', '"preserve"'),
    },
    { name: 'gets a number as one', order: { settings: ['maxvcpus=4'] }, want: `${CFG}maxvcpus = 4\n` },
    {
      name: 'gets what only looks like one as text',
      order: { settings: ['seclabel=007'] },
      want: `${CFG}seclabel = '007'\n`,
    },
    { name: 'loses a key', order: { settings: ['extra='] }, want: CFG.replace("extra = 'root=/dev/xvda2'\n", '') },
    {
      name: 'takes values with = in them',
      order: { settings: ["extra=a=b 'c'"] },
      want: CFG.replace('root=/dev/xvda2', "a=b \\'c\\'"),
    },
  ];
  for (const { name, order, want } of cases) t.equal(planned(order).text, want, name);
  t.throws(
    () =>
      planSet(
        'web',
        parseXlCfg("a=['x']"),
        { memoryMib: undefined, vcpus: undefined, settings: [{ key: 'a', value: 'b' }] },
        undefined,
      ),
    { code: 'invalid' },
  );
  t.end();
});

t.test('what runs', (t) => {
  t.strictSame(planned({ memoryMib: 256, vcpus: 1 }).resize, {}, 'nothing does');
  t.strictSame(planned({ memoryMib: 1024, vcpus: 2 }, [1024, 2]).resize, { memoryMib: 1024, vcpus: 2 });
  const late = planned({ memoryMib: 2048, vcpus: 2, settings: ['on_crash=preserve'] }, [1024, 2]);
  t.strictSame(late.resize, { vcpus: 2 });
  t.match(late.warnings, [/2048 MiB \(it was started with 1024 at most\), on_crash: from its next start on/]);
  t.end();
});

t.test('keys that are not for vm set name the verb that is', (t) => {
  const hints = { name: /vm rename/, uuid: /vm clone/, vif: /vm address/, disk: /vm create/ };
  for (const [key, hint] of Object.entries(hints)) {
    t.throws(() => parseSetting(`${key}=x`), { code: 'invalid', details: { hint } }, key);
  }
  for (const key of ['Memory', '1a', 'a b', '']) t.throws(() => checkSetting({ key, value: 'x' }), { code: 'invalid' });
  t.throws(() => parseSetting('extra=a\nname="x"'), { code: 'invalid' }, 'a line of its own');
  t.throws(() => parseSetting(`extra=${'x'.repeat(4097)}`), { code: 'invalid' });
  t.equal(parseSetting('web-7'), undefined);
  t.equal(parseSetting('web-7=x'), undefined, 'no key: the name of a VM may have it');
  t.end();
});

t.test('an order changes cfg and domain, and may come twice', async (t) => {
  const host = new FakeHost();
  const key = host.addVm('web');
  const log = pino({ level: 'silent' });
  const intents = new RecordIntentLog(new MemoryRecordStore(), log);
  const formerCfgs = new RecordFormerCfgs(new MemoryRecordStore());
  const configurer = new VmConfigurer({
    cfgFolder: host,
    guestDisk: host,
    wire: host,
    bridges: host,
    intents,
    formerCfgs,
    log,
  });
  const carryOut = carryOutOf(host, configurer);
  const run = (action: OrderAction) => {
    const order: Order = { orderId: 'o', vmKey: key, timeoutMs: 1000, action };
    return carryOut(order, () => undefined, NEVER);
  };
  const set = (memoryMib: number) => run({ kind: 'set', memoryMib, vcpus: undefined, settings: [] });
  t.match(await set(512), { vm: { memoryMib: 512 }, warnings: [] });
  t.match(host.files.get(key), /memory = 512\n/);
  host.domains.set('web', { name: 'web', uuid: 'u', state: 'running', memoryMib: 512, vcpus: 1 });
  host.calls.length = 0;
  t.match(await set(256), { vm: { memoryMib: 256 }, warnings: [] });
  await set(256);
  t.strictSame(
    host.calls.filter((call) => /^(replace|resize)/.test(call)),
    ['replace', 'resize {"memoryMib":256}', 'resize {"memoryMib":256}'],
  );
  t.match(await set(1024), { vm: { memoryMib: 256 }, warnings: [/from its next start on; domherd vm restart web/] });
  t.match(host.files.get(key), /memory = 1024\n/);
  t.match(await run({ kind: 'setAutostart', isOn: true }), { vm: { isAutostarted: true } });
  t.match(await run({ kind: 'setAutostart', isOn: false }), { vm: { isAutostarted: false } });
});

t.test('autostart entries are links beside the cfgs', async (t) => {
  const xen = t.testdir({ 'a.cfg': '', 'b.cfg': '' });
  const auto = join(xen, 'auto');
  const autostart = new DirAutostart(auto);
  const [a, b] = [join(xen, 'a.cfg'), join(xen, 'b.cfg')];
  t.strictSame([...(await autostart.list())], []);
  await autostart.set(a, false);
  t.notOk(existsSync(auto), 'nothing was needed');
  await autostart.set(a, true);
  await autostart.set(a, true);
  t.strictSame(readdirSync(auto), ['a.cfg']);
  t.equal(readlinkSync(join(auto, 'a.cfg')), '../a.cfg');
  symlinkSync(a, join(auto, '10-by-hand'));
  writeFileSync(join(auto, 'b.cfg'), 'a file');
  mkdirSync(join(auto, 'folder'));
  t.strictSame([...(await autostart.list())], [a]);
  await t.rejects(autostart.set(b, true), { code: 'already_exists' });
  await autostart.set(a, false);
  t.strictSame(readdirSync(auto), ['b.cfg', 'folder'], 'each that leads there goes, and nothing else');
});
