import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { identifyDevice } from '../../agent/adapters/xl/shared-device.js';
import type { ObservedVm } from '../../agent/domain/vm.js';
import type { LiveOffer } from '../../shared/domain/live-migration.js';
import { openLiveRig, sampleBytes, type LiveDom0 } from '../harness/live-rig.js';

const NEVER = new AbortController().signal;
const SILENT = (): void => undefined;
const ID = 'abc123';
const WWID = 'naa.600a098038303053453f463045727a64';
const SOMEBODY = 'ssh-ed25519 AAAAsomebody a person\n';

async function openRig(t: Test) {
  const rig = await openLiveRig(t);
  for (const dom0 of [rig.from, rig.to]) dom0.wwid = WWID;
  return rig;
}

async function webOf(dom0: LiveDom0): Promise<ObservedVm> {
  const vm = await dom0.observer.find(dom0.cfgPath);
  if (!vm) throw new Error('there is no web');
  return vm;
}

const offer = async (from: LiveDom0): Promise<LiveOffer> => from.live.offer(await webOf(from), ID, NEVER);

async function send({ from, to }: { readonly from: LiveDom0; readonly to: LiveDom0 }, signal = NEVER): Promise<void> {
  const offered = await offer(from);
  const admission = await to.live.admit(to.cfgPath, ID, offered, NEVER);
  await from.live.handOver(await webOf(from), ID, offered, admission, SILENT, signal);
}

const settle = (to: LiveDom0) => to.live.settleArrival(to.cfgPath, ID, NEVER);

async function depart(from: LiveDom0, isMoved: boolean): Promise<void> {
  await from.live.settleDeparture(await from.observer.find(from.cfgPath), ID, isMoved, NEVER);
}

interface Refusal {
  readonly code: string;
  readonly message?: RegExp;
  readonly details?: Record<string, RegExp>;
}

/** As if nothing had been tried. */
async function checkUntouched(t: Test, { from, to }: { readonly from: LiveDom0; readonly to: LiveDom0 }) {
  t.match(await webOf(from), { state: 'running', problem: undefined });
  t.strictSame([from.domains(), to.domains()], [['web'], []]);
  t.notOk(existsSync(to.cfgPath), 'no cfg there');
  t.equal(to.authorizedKeys(), SOMEBODY);
  t.strictSame([...from.left(), ...to.left()], []);
}

t.test('a domain goes by ssh, with a key that lets in that one domain once', async (t) => {
  const rig = await openRig(t);
  const { from, to } = rig;
  const cfg = readFileSync(from.cfgPath, 'latin1');
  const offered = await offer(from);
  t.match(offered, { name: 'web', xenVersion: '4.17.7', disks: [{ identity: WWID }] });
  const admission = await to.live.admit(to.cfgPath, ID, offered, NEVER);
  const [somebody, key, ...others] = to.authorizedKeys().split('\n');
  t.match(
    [somebody, key],
    [
      'ssh-ed25519 AAAAsomebody a person',
      /^restrict,command="\/bin\/sh \S+" ssh-ed25519 \S+ domherd-migration-abc123$/,
    ],
  );
  t.strictSame(others, ['']);
  t.match(await webOf(to), { state: 'stopped' });
  const told: string[] = [];
  await from.live.handOver(await webOf(from), ID, offered, admission, (message) => told.push(message), NEVER);
  t.strictSame(told, ['send its memory to 127.0.0.1'], 'where somebody with its host key answers');
  t.match(await webOf(to), { state: 'running' });
  t.strictSame([from.domains(), to.domains()], [[], ['web']]);
  await t.rejects(
    from.live.handOver({ ...(await webOf(from)), state: 'running' }, ID, offered, admission, SILENT, NEVER),
    { code: 'wrong_state' },
    'the door lets nobody else in',
  );
  t.strictSame(to.domains(), ['web']);
  for (let times = 0; times < 2; times++) {
    await settle(to);
    await depart(from, true);
  }
  t.equal(to.authorizedKeys(), SOMEBODY);
  t.strictSame([...from.left(), ...to.left()], []);
  t.notOk(existsSync(from.cfgPath));
  t.equal(readFileSync(to.cfgPath, 'latin1'), cfg, 'every byte of its cfg');
});

t.test('what is not the same device on both is refused, whatever it is called', async (t) => {
  const rig = await openRig(t);
  const { from, to, disk } = rig;
  const refuses = async (message: RegExp, before: () => void, after: () => void) => {
    before();
    await t.rejects(send(rig), { code: 'wrong_state', message, details: { hint: /--cold/ } }, String(message));
    // As the controller does; a host that has undone it says so.
    await settle(to).catch(SILENT);
    await depart(from, false);
    after();
    await checkUntouched(t, rig);
  };
  const device = (dom0: LiveDom0, wwid: string) => (): void => void (dom0.wwid = wwid);
  await refuses(/another device on the other host: naa\.5000/, device(to, 'naa.5000'), device(to, WWID));
  await refuses(
    /the same name, other bytes/,
    () => (to.bytes = sampleBytes(2)),
    () => (to.bytes = sampleBytes(1)),
  );
  const zeros = Buffer.alloc(from.bytes.length);
  const fill = (bytes: Buffer) => (): void => [from, to].forEach((dom0) => (dom0.bytes = bytes));
  await refuses(/it is empty/, fill(zeros), fill(sampleBytes(1)));
  const used = join(to.root, 'used');
  await refuses(
    /in use on the other host: the mount/,
    () => writeFileSync(used, ''),
    () => rmSync(used),
  );
  await refuses(
    /takes no domain of Xen 4\.17\.7/,
    () => to.setInfo('4.16.9'),
    () => to.setInfo('4.19.0'),
  );
  const both = (wwid: string) => (): void => [from, to].forEach((dom0) => (dom0.wwid = wwid));
  const plain = [
    '',
    't10.ATA     QEMU HARDDISK                           QM00001',
    't10.QEMU QEMU HARDDISK drive-scsi0-0-0-0',
  ];
  for (const wwid of plain) await refuses(/Nothing tells \S+shared from the devices/, both(wwid), both(WWID));
  const cfg = readFileSync(from.cfgPath, 'latin1');
  const write = (text: string) => (): void => writeFileSync(from.cfgPath, text);
  await refuses(/is no block device/, write(cfg.replace(`phy:${disk}`, `file:${from.cfgPath}`)), write(cfg));
  await refuses(/xvda2 is no device/, write(cfg.replace(`phy:${disk}`, 'qcow2:/x')), write(cfg));
  from.wwid = '';
  writeFileSync(join(from.root, 'device', 'serial'), 'lab-shared-disk-1\n');
  t.match(await identifyDevice(disk, join(from.root, 'sys')), { identity: 'serial.lab-shared-disk-1' });
});

t.test('what is not there for it is refused', async (t) => {
  const rig = await openRig(t);
  const { from, to } = rig;
  const offered = await offer(from);
  const refuses = async (change: Partial<LiveOffer>, error: Refusal) => {
    await t.rejects(to.live.admit(to.cfgPath, ID, { ...offered, ...change }, NEVER), error);
    await t.rejects(settle(to), { code: 'not_found' });
  };
  const { cfgText } = offered;
  await refuses({ memoryMib: 290 }, { code: 'exhausted', message: /306 MiB, 300 are free/ });
  await refuses({ cfgText: cfgText.replace('br0', 'br7') }, { code: 'wrong_state', message: /vif 0 of web/ });
  await refuses(
    { cfgText: cfgText.replace('vmlinuz', 'vmlinux') },
    { code: 'not_found', details: { path: /vmlinux$/ } },
  );
  writeFileSync(to.cfgPath, cfgText);
  await refuses({}, { code: 'already_exists' });
  t.ok(existsSync(to.cfgPath), 'what was there stays');
  rmSync(to.cfgPath);
  await depart(from, false);
  await checkUntouched(t, rig);
});

t.test('cut short, it runs on one of both', async (t) => {
  await t.test('by whoever asked for it: it goes on where it was', async (t) => {
    const rig = await openRig(t);
    const { from, to } = rig;
    writeFileSync(join(from.root, 'hold'), '');
    const stop = new AbortController();
    const sent = send(rig, stop.signal);
    sent.catch(SILENT);
    while (!to.domains().includes('web--incoming')) await new Promise((resolve) => setTimeout(resolve, 20));
    t.match(await webOf(to), { state: 'unknown', problem: /web--incoming: it is being migrated/ });
    stop.abort(new Error('left'));
    await t.rejects(sent, /left/);
    await t.rejects(settle(to), { code: 'not_found' });
    await depart(from, false);
    await checkUntouched(t, rig);
  });

  await t.test('by the death of the sending agent: the next one hangs up', async (t) => {
    const rig = await openRig(t);
    const { from, to } = rig;
    writeFileSync(join(from.root, 'hold'), '');
    const sent = send(rig);
    sent.catch(SILENT);
    while (!to.domains().includes('web--incoming')) await new Promise((resolve) => setTimeout(resolve, 20));
    await from.mover.recover();
    await t.rejects(sent, {
      code: 'wrong_state',
      message: 'xl migrate failed',
      details: { output: /resuming at sender/ },
    });
    await t.rejects(settle(to), { code: 'not_found' });
    await depart(from, false);
    await checkUntouched(t, rig);
  });

  await t.test(
    'by the receiving host, after the word to go was lost: it is destroyed, to be started again',
    async (t) => {
      const rig = await openRig(t);
      const { from, to } = rig;
      writeFileSync(join(from.root, 'die'), '');
      await t.rejects(send(rig), { code: 'wrong_state', details: { output: /final handshake/ } });
      t.match(await webOf(from), { state: 'unknown', problem: /web--migratedaway/ });
      await t.rejects(settle(to), { code: 'not_found' });
      await depart(from, false);
      t.match(await webOf(from), { state: 'stopped', problem: undefined });
      t.strictSame([from.domains(), to.domains()], [[], []]);
    },
  );

  await t.test('closed before anybody came: nobody comes any more', async (t) => {
    const rig = await openRig(t);
    const { from, to } = rig;
    const offered = await offer(from);
    const admission = await to.live.admit(to.cfgPath, ID, offered, NEVER);
    await to.mover.recover();
    t.equal(to.authorizedKeys(), SOMEBODY, 'an agent that starts withdraws all keys');
    await t.rejects(settle(to), { code: 'not_found' });
    await t.rejects(from.live.handOver(await webOf(from), ID, offered, admission, SILENT, NEVER), {
      code: 'unavailable',
    });
    await depart(from, false);
    await checkUntouched(t, rig);
  });
});
