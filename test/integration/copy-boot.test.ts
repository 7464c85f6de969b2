import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { DirAutostart } from '../../agent/adapters/disk/dir-autostart.js';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { HostDiskStore } from '../../agent/adapters/disk/host-disk-store.js';
import { RecordCopyLog } from '../../agent/adapters/disk/record-copy-log.js';
import { RecordFormerCfgs } from '../../agent/adapters/disk/record-former-cfgs.js';
import { VmMaker } from '../../agent/services/vm-maker.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import { createExec } from '../../shared/exec.js';
import { seedGuestDisk } from '../harness/carry-rig.js';
import { CloudGuest, NEEDS_CLOUD_GUEST } from '../harness/cloud-guest.js';
import { makeConfigureRig, settingsOf, stoppedVm } from '../harness/configure-rig.js';
import { makeCopier } from '../harness/copier.js';
import { DEBIAN, makeImage, readInImage } from '../harness/guest-image.js';
import { makeSeed } from '../harness/seed-image.js';

const NEVER = new AbortController().signal;
const USER_DATA = '#cloud-config\nruncmd: [[touch, /tmp/x]]\n# as it is: äöü\n';
const CREATED = ['xen', 'domains', 'copies', 'guest-changes', 'guest-originals', 'seed-changes', 'seed-originals'];

interface Refused {
  readonly code: string;
  readonly message: RegExp;
  readonly details?: { readonly hint: RegExp };
}

/** A dom0 with a VM that has a seed, a kernel and an initrd. */
async function makeDom0(t: Test) {
  const root = t.testdir({ xen: {}, domains: { domU: {} }, boot: { new: 'a kernel', 'new.img': 'an initrd' } });
  const exec = createExec(process.env);
  const folder = join(root, 'domains', 'domU');
  makeImage(join(folder, 'disk.img'), DEBIAN, { size: '24M' });
  const seed = join(folder, 'seed.img');
  await makeSeed(seed, join(root, 'work'));
  const rig = makeConfigureRig(root, exec, undefined, seedGuestDisk(root, exec));
  const cfg = `# mine
name='domU'
kernel='/boot/old' # gone long since
ramdisk='/boot/old.img'
root='/dev/xvda2 ro'
disk=['file:${folder}/disk.img,xvda2,w','file:${seed},xvdz,w']
vif=['bridge=br0']
`;
  writeFileSync(rig.cfgPath, cfg);
  const disks = new HostDiskStore(exec);
  const maker = new VmMaker({
    ...{ cfgFolder: rig.cfgFolder, guestDisk: rig.guestDisk, disks, log: pino({ level: 'silent' }) },
    formerCfgs: new RecordFormerCfgs(rig.originals),
    autostart: new DirAutostart(join(root, 'xen', 'auto')),
    copies: new RecordCopyLog(new DirRecordStore(join(root, 'copies'))),
  });
  const copier = makeCopier(root, { cfgFolder: rig.cfgFolder, disks, maker }, exec);
  const path = join(root, 'xen', 'web.cfg');
  const told: string[] = [];
  const copy = (shape: VmShape) =>
    copier.copy(stoppedVm(rig.cfgPath), path, { name: 'web', uuid: 'u', shape }, (text) => told.push(text), NEVER);
  const files = (): readonly string[] =>
    CREATED.flatMap((each) =>
      existsSync(join(root, each)) ? readdirSync(join(root, each), { recursive: true }).map(String).sort() : [],
    );
  return { root, rig, maker, cfg, seed, path, copy, files, told };
}

t.test('a copy boots by what it is given, its source as before', async (t) => {
  const { root, rig, maker, cfg, path, copy, told } = await makeDom0(t);
  const remade = async (shape: VmShape): Promise<string> => {
    await copy(shape);
    const text = readFileSync(path, 'latin1');
    await maker.remove({ ...stoppedVm(path), name: 'web' });
    return text;
  };
  const ofWeb = cfg.replaceAll('/domU/', '/web/').replace("'domU'", "'web'");
  t.equal(await remade({}), ofWeb, 'as its source, whose kernel nobody asks for');
  t.equal(
    await remade({ boot: { kind: 'direct', kernel: '/boot/new', ramdisk: '/boot/new.img', cmdline: 'quiet' } }),
    `${ofWeb.replace('/boot/old', '/boot/new').replace('old.img', 'new.img')}extra = 'quiet'\n`,
  );
  t.ok(told.includes('boots by kernel /boot/new, as asked for'));
  const withoutKernel = ofWeb.replace(/^(kernel|ramdisk|root).*\n/gm, '');
  for (const file of ['usr/lib/xen-4.17/bin/pygrub', 'usr/lib/grub-xen/grub-x86_64-xen.bin']) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), '');
  }
  t.equal(
    await remade({ boot: { kind: 'bootloader', bootloader: 'pygrub' } }),
    `${withoutKernel}bootloader = 'pygrub'\n`,
  );
  t.match(
    await remade({ boot: { kind: 'bootloader', bootloader: 'pvgrub' } }),
    /^# mine\nname='web'\nkernel='\/usr\/lib\/grub-xen\/grub-x86_64-xen.bin' # gone long since\ndisk/,
  );
  t.equal(readFileSync(rig.cfgPath, 'latin1'), cfg);
});

t.test('a copy with user data of its own is an instance of its own', NEEDS_CLOUD_GUEST, async (t) => {
  const { root, rig, seed, path, copy } = await makeDom0(t);
  const before = readFileSync(seed);
  await copy({ userData: USER_DATA });
  const vm = { ...stoppedVm(path), name: 'web' };
  await rig.configurer.configure(vm, settingsOf(5), () => undefined, NEVER);
  const guest = new CloudGuest(join(root, 'guest'), join(root, 'domains/web/seed.img'));
  const [vif] = settingsOf(5).vifs;
  t.match(guest.boot(vif!.mac), { hostname: 'vm5', addresses: ['10.180.0.5/14'] });
  t.equal(guest.read('/var/lib/cloud/instances/domherd-web-3/user-data.txt'), USER_DATA);
  t.ok(readFileSync(seed).equals(before), "the source's seed is its own");
  t.match(readInImage(join(root, 'domains/web/disk.img'), '/etc/hostname'), DEBIAN['/etc/hostname']);
});

t.test('what a copy cannot boot by or be told is refused before anything is made', async (t) => {
  const { rig, cfg, seed, root, copy, files } = await makeDom0(t);
  const refuses = async (shape: VmShape, error: Refused): Promise<void> => {
    const before = files();
    await t.rejects(copy(shape), error);
    t.notOk(existsSync(join(root, 'copies')), 'not even a record of it');
    t.strictSame(files(), before);
  };
  const kernel = '/boot/new';
  const missing = { code: 'wrong_state', message: /The host has no \/boot\/none/, details: { hint: /ls \/boot/ } };
  await refuses({ boot: { kind: 'direct', kernel: '/boot/none' } }, missing);
  await refuses({ boot: { kind: 'direct', kernel, ramdisk: '/boot/none' } }, missing);
  await refuses({ boot: { kind: 'direct', kernel: '/boot/a b' } }, { code: 'invalid', message: /no absolute path/ });
  await refuses({ boot: { kind: 'bootloader', bootloader: 'pygrub' } }, { code: 'wrong_state', message: /no pygrub/ });
  await refuses({ boot: { kind: 'bootloader', bootloader: 'pvgrub' } }, { code: 'wrong_state', message: /no pvgrub/ });

  const seedless = { code: 'wrong_state', message: /^domU has no seed/, details: { hint: /leave --user-data out/ } };
  copyFileSync(seed, join(root, 'kept.img'));
  await makeSeed(seed, join(root, 'work'), { metaData: '{"instance-id": "i-0abc"}\n' });
  await refuses({ userData: USER_DATA }, seedless);
  writeFileSync(seed, Buffer.alloc(4096));
  await refuses({ userData: USER_DATA }, seedless);
  rmSync(seed);
  await refuses({ userData: USER_DATA }, seedless);
  copyFileSync(join(root, 'kept.img'), seed);
  writeFileSync(rig.cfgPath, cfg.replace('xvdz,w', 'xvdz,r'));
  await refuses({ userData: USER_DATA }, seedless);
  writeFileSync(rig.cfgPath, cfg.replace(/,'file:\S+xvdz,w'/, ''));
  await refuses({ userData: USER_DATA }, seedless);
});
