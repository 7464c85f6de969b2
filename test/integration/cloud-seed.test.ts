import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { KernelDiskUse } from '../../agent/adapters/guest/disk-use.js';
import { SeedGuestDisk } from '../../agent/adapters/guest/seed-guest-disk.js';
import { SeedTools } from '../../agent/adapters/guest/seed-tools.js';
import { newSeed } from '../../agent/domain/seed/seed-files.js';
import { parseXlCfg } from '../../agent/domain/xl-cfg/xl-cfg.js';
import { createExec } from '../../shared/exec.js';
import { readByCloudInit, type CloudView } from '../harness/cloud-init.js';
import { makeConfigureRig, settingsOf, stoppedVm } from '../harness/configure-rig.js';
import { DEBIAN, makeImage } from '../harness/guest-image.js';

const NEVER = new AbortController().signal;
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwX2yXfb0m3VYl8V8zcd3o1v7Kx0m2mBq0K8QfD2Y3N me@frontend';
const USER_DATA = '#cloud-config\npackages: [vim]\n# as it is: äöü\n';

/** A dom0 with a VM that has a seed. */
async function makeDom0(t: Test) {
  const root = t.testdir({ xen: {}, domU: {} });
  const exec = createExec(process.env);
  const tools = new SeedTools(exec, join(root, 'work'));
  const seed = join(root, 'domU/seed.img');
  const draft = await tools.draft(newSeed({ name: 'domU', authorizedKeys: [KEY], userData: USER_DATA }), NEVER);
  copyFileSync(draft.path, seed);
  await draft.remove();
  makeImage(join(root, 'domU/disk.img'), DEBIAN);
  const cfg = `name='domU'\nroot='/dev/xvda2 ro'\ndisk=['file:${root}/domU/disk.img,xvda2,w','file:${seed},xvdz,w']\nvif=['bridge=br0']\n`;
  writeFileSync(join(root, 'xen/domU.cfg'), cfg);
  const rig = makeConfigureRig(root, exec, undefined, (files) => {
    return new SeedGuestDisk({
      ...{ files, tools, use: new KernelDiskUse() },
      changes: new DirRecordStore(join(root, 'seed-changes')),
      originals: new DirRecordStore(join(root, 'seed-originals')),
    });
  });
  const vm = stoppedVm(rig.cfgPath);
  const address = (n: number) => rig.configurer.configure(vm, settingsOf(n), () => undefined, NEVER);
  let reads = 0;
  const read = (renderer: 'eni' | 'netplan' = 'eni'): CloudView =>
    readByCloudInit(seed, join(root, `read-${reads++}`), renderer);
  return { root, rig, seed, vm, address, read, disk: join(root, 'domU/disk.img') };
}

t.test('cloud-init of Debian takes what a seed says', async (t) => {
  const { rig, seed, vm, address, read, disk, root } = await makeDom0(t);
  t.equal(execFileSync('blkid', ['-p', '-o', 'value', '-s', 'LABEL', seed]).toString().trim(), 'cidata');
  const before = readFileSync(seed);
  const diskBefore = readFileSync(disk);
  await address(3);
  const first = read('eni');
  t.match(first, { instanceId: 'domherd-domU-2', hostname: 'vm3', keys: [KEY], userData: USER_DATA });
  t.equal(first.vendorData, '#cloud-config\ndisable_root: false\n');
  const interfaces = first.files['/etc/network/interfaces'] ?? '';
  t.match(interfaces, /auto eth0\niface eth0 inet static\n +address 10\.180\.0\.3\/14\n/);
  t.match(interfaces, /route add default gw 10\.183\.255\.254/);
  t.match(interfaces, /dns-nameservers 172\.16\.16\.247\n +dns-search grenoble\.example/);
  t.match(first.files['/etc/udev/rules.d/70-persistent-net.rules'], /"00:16:3e:b4:00:03", NAME="eth0"/);
  t.match(
    read('netplan').files['/etc/netplan/50-cloud-init.yaml'],
    /- 10\.180\.0\.3\/14\n[^]*to: 0\.0\.0\.0\/0\n +via: 10\.183/,
  );
  t.ok(readFileSync(disk).equals(diskBefore), "the guest's own files are left alone");

  const written = readFileSync(seed);
  await address(3);
  t.ok(readFileSync(seed).equals(written), 'the same again changes nothing');
  await address(4);
  t.match(read(), { instanceId: 'domherd-domU-3', hostname: 'vm4', keys: [KEY], userData: USER_DATA });
  t.match(read().files['/etc/network/interfaces'], /address 10\.180\.0\.4\/14/);

  await rig.configurer.restore(vm, () => undefined, NEVER);
  t.ok(readFileSync(seed).equals(before), 'given back byte for byte');
  t.strictSame(readdirSync(join(root, 'seed-originals')), []);
});

t.test('a change that is open is undone, and a copy is an instance of its own', async (t) => {
  const { rig, seed, root, address, read } = await makeDom0(t);
  await address(3);
  const guest = { name: 'domU', cfgPath: rig.cfgPath, cfg: parseXlCfg(readFileSync(rig.cfgPath, 'latin1')) };
  const written = readFileSync(seed);
  await rig.guestDisk.write(guest, settingsOf(5), NEVER);
  t.match(read(), { hostname: 'vm5' });
  await t.rejects(rig.guestDisk.write(guest, settingsOf(6), NEVER), { code: 'wrong_state' });
  await (await rig.guestDisk.findOpen(rig.cfgPath))?.undo();
  t.ok(readFileSync(seed).equals(written));
  t.strictSame([...((await rig.guestDisk.read(guest))?.addresses.keys() ?? [])], [0]);

  mkdirSync(join(root, 'web'));
  for (const file of ['seed.img', 'disk.img']) copyFileSync(join(root, 'domU', file), join(root, 'web', file));
  const copy = {
    name: 'web',
    cfgPath: join(root, 'xen/web.cfg'),
    cfg: parseXlCfg(guest.cfg.text.replaceAll('/domU/', '/web/')),
  };
  await rig.guestDisk.renew(copy, { authorizedKeys: [KEY], swapDevice: undefined }, NEVER);
  t.match(readFileSync(seed).equals(written), true);
  t.strictSame(
    [...((await rig.guestDisk.read(copy))?.addresses.keys() ?? [])],
    [],
    'without the addresses of its source',
  );
  await rig.guestDisk.write(copy, settingsOf(9), NEVER);
  const view = readByCloudInit(join(root, 'web/seed.img'), join(root, 'read-web'), 'eni');
  t.match(view, { instanceId: 'domherd-web-4', hostname: 'vm9', keys: [KEY], userData: USER_DATA });
});
