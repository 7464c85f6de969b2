import type { Test } from 'tap';
import { formatIpv4, parseIpv4 } from '../../shared/domain/ipv4.js';
import { parseMac } from '../../shared/domain/mac.js';
import type { GuestSettings } from '../../agent/domain/order.js';
import type { Guest, GuestDisk } from '../../agent/ports/guest-disk.js';

/** A stopped guest that was never written, with its first vif set to DHCP. */
export interface GuestDiskRig {
  readonly guest: Guest;
  /** On the same disk, for an agent that knows nothing of the one before. */
  readonly open: () => Promise<GuestDisk>;
  /** Makes its disk some 16 MiB longer; `undefined`: its disk has no length. */
  readonly lengthen?: () => Promise<void>;
  /** Of its root's file system, by its own word. */
  readonly usableBytes?: () => number;
}

const NEVER = new AbortController().signal;

/** What every guest disk does, simulated or real. Each case gets a guest of its own. */
export function guestDiskContract(t: Test, makeRig: (t: Test) => Promise<GuestDiskRig>): void {
  const write = async ({ guest, open }: GuestDiskRig, n: number) => (await open()).write(guest, settingsOf(n), NEVER);
  const look = async ({ guest, open }: GuestDiskRig) => {
    const network = await (await open()).read(guest);
    return { addresses: [...(network?.addresses.values() ?? [])].map(formatIpv4), hostname: network?.hostname };
  };
  const findOpen = async ({ guest, open }: GuestDiskRig) => (await open()).findOpen(guest.cfgPath);
  const restore = async ({ guest, open }: GuestDiskRig) => (await open()).restore(guest, NEVER);

  t.test('a write is there at once, and stands when it is kept', async (t) => {
    const rig = await makeRig(t);
    t.same((await look(rig)).addresses, []);
    const change = await write(rig, 7);
    t.same(await look(rig), { addresses: ['10.180.0.7'], hostname: 'vm7' });
    await change.keep();
    await change.keep();
    await change.undo();
    t.same(await look(rig), { addresses: ['10.180.0.7'], hostname: 'vm7' }, 'nothing is left to be undone');
    t.equal(await findOpen(rig), undefined);
  });

  t.test('an open change is found again, keeps others out, and can be undone', async (t) => {
    const rig = await makeRig(t);
    await (await write(rig, 6)).keep();
    const before = await look(rig);
    t.equal(await findOpen(rig), undefined);
    const change = await write(rig, 7);
    await t.rejects(write(rig, 8), { code: 'wrong_state' });
    await t.rejects(restore(rig), { code: 'wrong_state' });
    await (await findOpen(rig))?.undo();
    await change.undo();
    t.same(await look(rig), before);
    t.equal(await findOpen(rig), undefined);
  });

  t.test('a restore gives back what was before the first write that stood, once', async (t) => {
    const rig = await makeRig(t);
    const before = await look(rig);
    t.equal(await restore(rig), undefined, 'it was never written');
    await (await write(rig, 5)).undo();
    t.equal(await restore(rig), undefined, 'what was undone was no write');
    await (await write(rig, 6)).keep();
    await (await write(rig, 7)).keep();
    const change = await restore(rig);
    t.same(await look(rig), before);
    await change?.keep();
    t.same(await look(rig), before);
    t.equal(await restore(rig), undefined, 'it is as if it had never been written');
    t.equal(await findOpen(rig), undefined);
    await (await write(rig, 8)).keep();
    await (await restore(rig))?.keep();
    t.same(await look(rig), before, 'and may be written and restored anew');
  });

  t.test('a restore that is undone was none', async (t) => {
    const rig = await makeRig(t);
    const before = await look(rig);
    await (await write(rig, 7)).keep();
    const written = await look(rig);
    t.ok(await restore(rig));
    await t.rejects(restore(rig), { code: 'wrong_state' }, 'one at a time');
    await (await findOpen(rig))?.undo();
    t.same(await look(rig), written);
    t.ok(await restore(rig));
    t.same(await look(rig), before);
    await (await findOpen(rig))?.keep();
    t.equal(await restore(rig), undefined);
  });

  t.test('grows to the end of its disk, once; its files stay', async (t) => {
    const rig = await makeRig(t);
    await (await write(rig, 7)).keep();
    const before = await look(rig);
    await rig.lengthen?.();
    await t.rejects((await rig.open()).grow(rig.guest, AbortSignal.abort(new Error('stop'))));
    const short = rig.usableBytes?.();
    await (await rig.open()).grow(rig.guest, NEVER);
    const long = rig.usableBytes?.();
    if (short !== undefined && long !== undefined) t.ok(long > short + 8 * 1024 * 1024, `${short} -> ${long} bytes`);
    t.same(await look(rig), before);
    await (await rig.open()).grow(rig.guest, NEVER);
    t.equal(rig.usableBytes?.(), long, 'it is as long as it can be');
    t.equal(await findOpen(rig), undefined, 'there is nothing to be undone');
    await (await restore(rig))?.keep();
    t.same((await look(rig)).addresses, [], 'what is kept of it is still its own');
  });

  t.test('what is kept of a guest follows its cfg to another path', async (t) => {
    const rig = await makeRig(t);
    const before = await look(rig);
    await (await write(rig, 7)).keep();
    const written = await look(rig);
    const moved = { ...rig, guest: { ...rig.guest, cfgPath: rig.guest.cfgPath.replace(/\.cfg$/, '-2.cfg') } };
    for (let times = 0; times < 2; times++) await (await rig.open()).follow(rig.guest.cfgPath, moved.guest.cfgPath);
    t.same(await look(moved), written);
    t.equal(await restore(rig), undefined, 'the former path has nothing any more');
    await (await restore(moved))?.keep();
    t.same(await look(moved), before);
  });

  t.test('nothing is begun after an abort', async (t) => {
    const rig = await makeRig(t);
    await (await write(rig, 7)).keep();
    const written = await look(rig);
    const disk = await rig.open();
    const aborted = AbortSignal.abort(new Error('stop'));
    await t.rejects(disk.write(rig.guest, settingsOf(8), aborted));
    await t.rejects(disk.restore(rig.guest, aborted));
    t.same(await look(rig), written);
    t.equal(await findOpen(rig), undefined);
  });
}

function settingsOf(n: number): GuestSettings {
  const settings = {
    prefixLength: 14,
    broadcast: parseIpv4('10.183.255.255'),
    gateway: parseIpv4('10.183.255.254'),
    dns: [],
    domain: '',
  };
  const mac = parseMac(`00:16:3e:b4:00:0${n}`);
  const vif = { index: 0, mac, address: parseIpv4(`10.180.0.${n}`), settings, hasDefaultRoute: true };
  return { vifs: [vif], hostname: `vm${n}` };
}
