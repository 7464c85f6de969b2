import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { HostDiskStore } from '../../agent/adapters/disk/host-disk-store.js';
import { RecordCopyLog } from '../../agent/adapters/disk/record-copy-log.js';
import { RecordFormerCfgs } from '../../agent/adapters/disk/record-former-cfgs.js';
import { OWN_NAMESPACES } from '../../agent/domain/install/namespace.js';
import { HostInstaller } from '../../agent/adapters/install/host-installer.js';
import { Dom0BootFiles } from '../../agent/adapters/xl/dom0-boot-files.js';
import { VmImager } from '../../agent/services/vm-imager.js';
import { VmMaker } from '../../agent/services/vm-maker.js';
import type { InstallerSource } from '../../shared/domain/installer.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import { createExec, type Exec, type ExecOptions } from '../../shared/exec.js';
import { makeConfigureRig, settingsOf, stoppedVm } from '../harness/configure-rig.js';
import { isClean, readInImage } from '../harness/guest-image.js';

const LOG = pino({ level: 'silent' });
const NEVER = new AbortController().signal;
const MIB = 1024 * 1024;
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN0WJ3jF4H2fh25LEqPFlG2j4OtErQT374Feclz/E6Yl me@frontend';
const SOURCE: InstallerSource = { kind: 'installer', installer: 'debootstrap', dist: 'bookworm' };
const REAL = createExec(process.env);

/** A dom0 without VMs, whose packages come from where those of this machine do. */
function makeDom0(t: Test, exec: Exec, installRoot?: string) {
  const root = t.testdir({
    xen: { 'other.cfg': '' },
    boot: { 'vmlinuz-6.1.0': '' },
    lib: { modules: { '6.1.0': { 'modules.dep': 'kernel/fs/ext4.ko:\n' } } },
    usr: { lib: { 'grub-xen': {} } },
    domains: {},
    etc: {},
  });
  writeFileSync(join(root, 'xen/other.cfg'), `name='other'\ndisk=['file:${root}/domains/other/disk.img,xvda2,w']\n`);
  const rig = makeConfigureRig(root, exec);
  const { cfgFolder, guestDisk } = rig;
  const copies = new RecordCopyLog(new DirRecordStore(join(root, 'copies')));
  const formerCfgs = new RecordFormerCfgs(rig.originals);
  const autostart = { set: () => Promise.resolve() };
  const disks = new HostDiskStore(exec);
  const maker = new VmMaker({ cfgFolder, guestDisk, formerCfgs, autostart, copies, disks, log: LOG });
  const nothing = (): never => {
    throw new Error('there are no images here');
  };
  const imager = new VmImager(
    {
      cfgFolder,
      disks,
      images: { acquire: nothing, clear: () => Promise.resolve() },
      installer: new HostInstaller({ exec, log: LOG, folder: join(root, 'installs'), root: installRoot ?? root }),
      bootFiles: new Dom0BootFiles(root, '6.1.0'),
      seeds: { draft: nothing, read: nothing },
      bridges: rig.bridges,
    },
    maker,
  );
  const told: string[] = [];
  const pathOf = (name: string): string => join(root, 'xen', `${name}.cfg`);
  const make = (name: string, shape: VmShape = {}, source: Partial<InstallerSource> = {}, signal = NEVER) => {
    const [vif] = settingsOf(7).vifs;
    const settings = { name, uuid: `uuid-${name}`, shape, source: { ...SOURCE, ...source }, vif };
    return imager.make(pathOf(name), settings, (message) => told.push(message), signal);
  };
  const diskOf = (name: string): string => join(root, 'domains', name, 'disk.img');
  const cfgOf = (name: string): string => readFileSync(pathOf(name), 'utf8');
  const isEmpty = (): boolean =>
    readdirSync(join(root, 'domains')).length === 0 &&
    (!existsSync(join(root, 'installs')) || readdirSync(join(root, 'installs')).length === 0);
  return { root, rig, maker, imager, told, make, pathOf, diskOf, cfgOf, isEmpty };
}

const hasDebootstrap = spawnSync('debootstrap', ['--version']).error === undefined;
const NEEDS_DEBOOTSTRAP = { skip: hasDebootstrap ? false : 'needs debootstrap: apt-get install debootstrap' };

// The one that downloads and installs: a minute and more, of which half is the download.
t.test('a guest that debootstrap installs, from the mirror of this machine', NEEDS_DEBOOTSTRAP, async (t) => {
  const dom0 = makeDom0(t, REAL);
  const { root } = dom0;
  cpSync('/etc/apt', join(root, 'etc/apt'), { recursive: true, filter: (path) => !/auth|trusted|keyrings/.test(path) });
  const warnings = await dom0.make('web', { authorizedKeys: [KEY], diskMib: 1024, swapMib: 16 });
  t.strictSame(warnings, [], 'no empty password, no key that others have');
  const disk = dom0.diskOf('web');
  t.ok(isClean(disk));
  t.equal(statSync(disk).size, 1024 * MIB);
  t.ok(statSync(disk).blocks * 512 < 700 * MIB, 'with holes');
  t.match(dom0.cfgOf('web'), /^kernel += '\/boot\/vmlinuz-6.1.0'\nroot += '\/dev\/xvda2 ro'$/m);
  for (const phase of ['download packages', 'configure packages', 'make its file system']) {
    t.ok(dom0.told.includes(`debootstrap bookworm: ${phase}`), phase);
  }
  t.notMatch(readFileSync('/proc/mounts', 'utf8'), root, 'nothing is mounted');
  t.strictSame(readdirSync(join(root, 'installs')), [], 'nothing is left of the work');

  await dom0.rig.configurer.configure({ ...stoppedVm(dom0.pathOf('web')), name: 'web' }, settingsOf(7), () => 0, NEVER);
  t.equal(readInImage(disk, '/etc/fstab'), '/dev/xvda2 / ext4 errors=remount-ro 0 1\n/dev/xvda1 none swap sw 0 0\n');
  t.equal(readInImage(disk, '/etc/hostname'), 'vm7\n');
  t.match(readInImage(disk, '/etc/shadow'), /^root:[*!]:/m, 'nobody logs in by a password');
  t.match(readInImage(disk, '/etc/ssh/ssh_host_ed25519_key.pub'), /root@web/, 'a host key of its own');
  t.equal(readInImage(disk, '/usr/lib/modules/6.1.0/modules.dep'), 'kernel/fs/ext4.ko:\n', 'modules of its kernel');
  t.notMatch(readInImage(disk, '/etc/resolv.conf'), readFileSync('/etc/resolv.conf', 'utf8').trim());

  // What is in it is asked of its own programs.
  const guest = join(root, 'guest');
  mkdirSync(guest);
  execFileSync('debugfs', ['-R', `rdump / ${guest}`, disk], { stdio: 'ignore' });
  const ask = (...argv: readonly string[]): string => execFileSync('chroot', [guest, ...argv], { encoding: 'utf8' });
  // Of which debugfs makes none.
  execFileSync('mknod', [join(guest, 'dev/null'), 'c', '1', '3']);
  mkdirSync(join(guest, 'run/sshd'), { recursive: true });
  t.match(ask('sshd', '-T'), /^permitrootlogin (without-password|prohibit-password)$/m);
  t.match(readFileSync(join(guest, 'root/.ssh/authorized_keys'), 'utf8'), KEY);
  t.match(ask('ifquery', 'eth0'), /^address: 10.180.0.7/m);
  t.match(ask('systemctl', 'is-enabled', 'serial-getty@hvc0.service', 'ssh.service'), /^enabled\nenabled\n$/);
  t.match(ask('readlink', '-f', '/sbin/init'), /systemd/);
  await dom0.maker.remove({ ...stoppedVm(dom0.pathOf('web')), name: 'web' });
  t.ok(dom0.isEmpty());
});

t.test('an installer dies with its agent, whose unit kills only the agent', async (t) => {
  const marker = join(t.testdir({}), 'ticks');
  const loop = ['sh', '-c', `while :; do echo >> ${marker}; sleep 0.05; done`];
  const script = `require('child_process').spawn(${JSON.stringify(OWN_NAMESPACES[0])}, ${JSON.stringify([...OWN_NAMESPACES.slice(1), ...loop])}, { detached: true })`;
  const agent = spawn(process.execPath, ['-e', script]);
  const ticks = (): number => (existsSync(marker) ? statSync(marker).size : 0);
  while (ticks() === 0) await setTimeout(20);
  agent.kill('SIGKILL');
  await once(agent, 'exit');
  let last = -1;
  for (let n = 0; n < 40 && ticks() !== last; n += 1) {
    last = ticks();
    await setTimeout(250);
  }
  t.equal(ticks(), last);
});

const hasXenTools = spawnSync('xen-create-image', ['--version']).error === undefined;
const NEEDS_XEN_TOOLS = { skip: hasXenTools ? false : 'needs xen-create-image: apt-get install xen-tools' };

/** As {@link REAL}; keeps the cfgs that xen-create-image writes, and gives it modules of that size. */
function watchXenTools() {
  const watched = { cfgs: [] as string[], modulesMib: 0 };
  const run: Exec['run'] = async (argv, options) => {
    const valueOf = (flag: string): string | undefined =>
      argv.find((word) => word.startsWith(flag))?.slice(flag.length);
    const [folder, name, modules] = [valueOf('--output='), valueOf('--hostname='), valueOf('--modules=')];
    if (folder === undefined || name === undefined || modules === undefined) return REAL.run(argv, options);
    writeFileSync(join(modules, 'large.ko'), Buffer.alloc(watched.modulesMib * MIB, 'x'));
    const result = await REAL.run(argv, options);
    if (result.kind === 'ok') watched.cfgs.push(readFileSync(join(folder, `${name}.cfg`), 'utf8'));
    return result;
  };
  return { exec: { run }, watched };
}

/** As little as xen-tools takes for a system, and a lease can be written into. */
function makeTarball(root: string): string {
  const folder = join(root, 'guest');
  for (const path of ['bin', 'etc/network', 'etc/ssh', 'root', 'usr/sbin', 'proc', 'dev', 'tmp', 'lib']) {
    mkdirSync(join(folder, path), { recursive: true });
  }
  cpSync('/bin/busybox', join(folder, 'bin/busybox'));
  for (const applet of ['sh', 'ls', 'cp']) symlinkSync('busybox', join(folder, 'bin', applet));
  writeFileSync(join(folder, 'etc/debian_version'), '8.11\n');
  writeFileSync(join(folder, 'etc/passwd'), 'root:x:0:0:root:/root:/bin/sh\n');
  writeFileSync(join(folder, 'etc/shadow'), 'root:*:19000:0:99999:7:::\n');
  writeFileSync(join(folder, 'etc/machine-id'), 'abc\n');
  const path = join(root, 'guest.tar');
  execFileSync('tar', ['-C', folder, '-cf', path, '.']);
  return path;
}

t.test('a guest that the real xen-create-image makes of a tarball', NEEDS_XEN_TOOLS, async (t) => {
  const { exec, watched } = watchXenTools();
  const dom0 = makeDom0(t, exec, '/');
  const { root } = dom0;
  const tarball = makeTarball(root);
  // What is a file of the machine, and of the host that the test has made.
  const boot = { kind: 'direct', kernel: '/bin/busybox' } as const;
  mkdirSync(join(root, 'bin'));
  writeFileSync(join(root, 'bin/busybox'), '');
  const machine = (): readonly string[] => [
    readFileSync('/etc/hosts', 'utf8'),
    ...['/etc/xen', '/var/log/xen-tools', '/tmp'].flatMap((folder) =>
      existsSync(folder) ? readdirSync(folder).filter((name) => /xtguest|^.{10}$/.test(name)) : [],
    ),
  ];
  const before = machine();
  // Not released for years: xen-tools wants no kernel of its own in it.
  const source = { installer: 'xen-tools', dist: 'jessie', tarball } as const;
  await dom0.make('xtguest', { boot, authorizedKeys: [KEY], diskMib: 32, swapMib: 16 }, source);
  const disk = dom0.diskOf('xtguest');
  t.ok(isClean(disk));
  t.equal(statSync(disk).size, 32 * MIB);
  t.match(dom0.cfgOf('xtguest'), /^root += '\/dev\/xvda2 ro'$/m);
  t.notMatch(dom0.cfgOf('xtguest'), /ip=|mac=|dhcp/);
  t.match(
    watched.cfgs[0],
    /^vif += \[ 'ip=10\.180\.0\.7 ,mac=00:16:3e:b4:00:07,bridge=br0' \]$/m,
    'it was told the lease',
  );
  t.match(
    readInImage(disk, '/etc/network/interfaces'),
    /^iface eth0 inet static\n address 10\.180\.0\.7\n gateway 10\.183\.255\.254\n netmask 255\.252\.0\.0\n broadcast 10\.183\.255\.255$/m,
  );
  t.equal(readInImage(disk, '/etc/resolv.conf'), 'nameserver 172.16.16.247\n');
  for (const phase of ['make its file system', 'run hooks'])
    t.ok(dom0.told.includes(`xen-tools jessie: ${phase}`), phase);

  const vif = { index: 0, mac: undefined, bridge: undefined, guestAddress: undefined };
  const vm = { ...stoppedVm(dom0.pathOf('xtguest')), name: 'xtguest', vifs: [vif] };
  await dom0.rig.configurer.configure(vm, settingsOf(7), () => 0, NEVER);
  t.match(dom0.cfgOf('xtguest'), /^ +'mac=00:16:3e:b4:00:07,bridge=br0',$/m, 'of the lease, and no ip=');
  t.match(readInImage(disk, '/etc/fstab'), /^\/dev\/xvda1 none swap sw 0 0\n\/dev\/xvda2 \/ ext4 \S+ 0 1$/m);
  t.match(readInImage(disk, '/etc/network/interfaces'), /^iface eth0 inet static\n\s+address 10\.180\.0\.7/m);
  t.notMatch(readInImage(disk, '/etc/network/interfaces'), /dhcp/);
  t.equal(readInImage(disk, '/etc/hostname'), 'vm7\n');
  t.equal(readInImage(disk, '/etc/machine-id'), '');
  t.match(readInImage(disk, '/etc/shadow'), /^root:\*:/m, 'no password was made up');
  t.match(readInImage(disk, '/root/.ssh/authorized_keys'), KEY);
  t.match(readInImage(disk, '/etc/ssh/ssh_host_rsa_key.pub'), /root@xtguest/);
  await dom0.maker.remove(vm);

  await dom0.make('xtguest', { boot, diskMib: 32 }, source);
  t.match(dom0.cfgOf('xtguest'), /^root += '\/dev\/xvda1 ro'$/m, 'without swap space');
  t.match(readInImage(disk, '/etc/fstab'), /^\/dev\/xvda1 \/ ext4 /m);
  await dom0.maker.remove(vm);

  // A hook copies them, and those after it end well all the same.
  watched.modulesMib = 40;
  await t.rejects(dom0.make('xtguest', { boot, diskMib: 32 }, source), {
    ...{ code: 'invalid', message: 'The system does not fit into a disk of 32 MiB' },
    details: { output: /modules.*No space left on device/, hint: /--disk/ },
  });
  watched.modulesMib = 0;

  writeFileSync(tarball, 'no tarball');
  await t.rejects(dom0.make('xtguest', { boot, diskMib: 32 }, source), {
    code: 'unavailable',
    details: { output: /does not look like a tar archive/ },
  });
  t.ok(dom0.isEmpty());
  t.strictSame(machine(), before, 'no log, no cfg, no mount point, no line in /etc/hosts');
  t.notMatch(readFileSync('/proc/mounts', 'utf8'), root);
  t.notMatch(execFileSync('losetup', ['-a'], { encoding: 'utf8' }), root);
});

/** A host whose debootstrap does what `act` does in the folder that it is told; all else is real. */
function fakeExec(act: (folder: string, argv: readonly string[], options: ExecOptions) => string | Promise<string>) {
  const missing = new Set<string>();
  const asked: (readonly string[])[] = [];
  const run: Exec['run'] = async (argv, options) => {
    const result = { argv, stdout: Buffer.alloc(0), stderr: '' };
    if (missing.has(argv[0])) return { ...result, kind: 'missing' };
    if (argv[1] === '--version') return { ...result, kind: 'ok' };
    if (argv[0] !== OWN_NAMESPACES[0]) return REAL.run(argv, options);
    asked.push(argv);
    const folder = argv.find((arg) => arg.endsWith('/root')) ?? '';
    const stderr = await act(folder, argv, options);
    if (options.signal?.aborted === true) return { ...result, kind: 'aborted' };
    return stderr === ''
      ? { ...result, kind: 'ok' }
      : { ...result, kind: 'failed', exitCode: 1, endSignal: undefined, stderr };
  };
  return { exec: { run }, missing, asked };
}

/** As far as the steps after it look. */
function plantSystem(folder: string): string {
  for (const path of [
    'etc/ssh',
    'etc/network',
    'root',
    'boot',
    'var/cache/apt/archives/partial',
    'usr/lib',
    'usr/sbin',
  ]) {
    mkdirSync(join(folder, path), { recursive: true });
  }
  symlinkSync('usr/lib', join(folder, 'lib'));
  writeFileSync(join(folder, 'etc/os-release'), 'ID=debian\nVERSION_ID="12"\n');
  writeFileSync(join(folder, 'etc/shadow'), 'root::19000:0:99999:7:::\ndaemon:*:19000:0:99999:7:::\n', { mode: 0o640 });
  writeFileSync(join(folder, 'etc/resolv.conf'), 'nameserver 192.0.2.1\n', { mode: 0o755 });
  writeFileSync(join(folder, 'etc/machine-id'), 'abc\n');
  for (const kernel of ['6.1.0-9-amd64', '6.1.0-18-amd64']) writeFileSync(join(folder, `boot/vmlinuz-${kernel}`), 'x');
  writeFileSync(join(folder, 'var/cache/apt/archives/a.deb'), 'x');
  return '';
}

t.test('where it installs from, and a guest with a kernel of its own', async (t) => {
  const { exec, asked } = fakeExec((folder, _argv, { onOutput }) => {
    onOutput?.('stdout', 'I: Retrieving a 1\nI: Validating a 1\nI: Retrieving b 1\n');
    onOutput?.('stdout', 'I: Configuring a...\n');
    return plantSystem(folder);
  });
  const dom0 = makeDom0(t, exec);
  await t.rejects(dom0.make('x'), { code: 'wrong_state', details: { hint: /--mirror URL; or --tarball/ } });
  t.strictSame(asked, []);
  mkdirSync(join(dom0.root, 'etc/apt/sources.list.d'), { recursive: true });
  const list = (name: string, text: string): void => writeFileSync(join(dom0.root, 'etc/apt', name), text);
  list('sources.list', 'deb cdrom:[Debian]/ bookworm main\n# deb http://old.example/debian bookworm main\n');
  list(
    'sources.list.d/debian.sources',
    `Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security

Types: deb deb-src
# A comment
URIs: http://first.example/debian
Suites: bookworm
 bookworm-updates
Enabled: yes

Types: deb
URIs: http://off.example/debian
Suites: trixie
Enabled: no
`,
  );
  list('sources.list.d/trixie.list', 'deb [arch=amd64 signed-by=/k] https://second.example/debian trixie main\n');
  writeFileSync(join(dom0.root, 'usr/lib/grub-xen/grub-x86_64-xen.bin'), '');
  const boot = { kind: 'bootloader', bootloader: 'pvgrub' } as const;
  await dom0.make('own', { boot, diskMib: 24 });
  t.strictSame(asked.at(-1)?.slice(-2), [asked.at(-1)?.at(-2), 'http://first.example/debian']);
  t.match(
    asked.at(-1)?.join(' '),
    / unshare --mount .* debootstrap --variant=minbase --force-check-gpg .*linux-image-/,
  );
  const disk = dom0.diskOf('own');
  t.match(
    readInImage(disk, '/boot/grub/grub.cfg'),
    /^set default=0\n[^]*'Linux 6.1.0-18-amd64' \{\n {2}linux \/boot\/vmlinuz-6.1.0-18-amd64 root=\/dev\/xvda2 ro console=hvc0\n[^]*6.1.0-9-/,
  );
  t.match(readInImage(disk, '/etc/shadow'), /^root:\*:19000/, 'an empty password is none');
  t.equal(readInImage(disk, '/etc/resolv.conf'), '');
  t.strictSame(
    dom0.told.filter((text) => text.startsWith('debootstrap')),
    ['download packages', 'configure packages', 'make it a guest', 'make its file system'].map(
      (phase) => `debootstrap bookworm: ${phase}`,
    ),
  );
  await dom0.make('new', { diskMib: 24 }, { dist: 'trixie' });
  t.equal(asked.at(-1)?.at(-1), 'https://second.example/debian');
  t.notMatch(asked.at(-1)?.join(' '), /linux-image/, 'it boots the kernel of its host');
  await dom0.make('sid', { diskMib: 24 }, { dist: 'sid', mirror: 'http://mine.example/debian' });
  t.strictSame([asked.at(-1)?.at(-3), asked.at(-1)?.at(-1)], ['sid', 'http://mine.example/debian']);
  const tarball = '/var.tar';
  await t.rejects(dom0.make('packed', {}, { tarball }), { code: 'not_found', details: { hint: /--make-tarball/ } });
  writeFileSync(join(dom0.root, tarball), '');
  await dom0.make('packed', {}, { tarball });
  t.ok(asked.at(-1)?.includes(`--unpack-tarball=${tarball}`));
  t.match(asked.at(-1)?.at(-1), /\/root$/, 'no mirror is asked');
  t.equal(statSync(dom0.diskOf('packed')).size, 2048 * MIB);
  await dom0.imager.recover();
  t.notOk(existsSync(join(dom0.root, 'installs')), 'nor is anything left of it after a death');
});

t.test('what fails leaves nothing', async (t) => {
  let act = (folder: string): string | Promise<string> => plantSystem(folder);
  const { exec, missing } = fakeExec((folder) => act(folder));
  const dom0 = makeDom0(t, exec);
  const mirror = 'http://mirror.example/debian';
  for (const [program, hint] of [
    ['debootstrap', /apt-get install debootstrap,/],
    ['mke2fs', /apt-get install e2fsprogs,/],
  ] as const) {
    missing.add(program);
    await t.rejects(dom0.make('x', {}, { mirror }), { code: 'unavailable', details: { hint } }, program);
    missing.clear();
  }
  const installer = 'xen-tools';
  missing.add('xen-create-image');
  await t.rejects(dom0.make('x', {}, { installer }), { code: 'unavailable', details: { hint: /install xen-tools,/ } });
  missing.clear();
  await t.rejects(dom0.make('x', {}, { installer }), { code: 'not_found', message: /know no distribution bookworm/ });
  mkdirSync(join(dom0.root, 'usr/share/xen-tools/bookworm.d'), { recursive: true });
  const none = { installer, tarball: '/none.tar' } as const;
  await t.rejects(dom0.make('x', {}, none), { code: 'not_found', message: /no \/none\.tar/ });
  const boot = { kind: 'bootloader', bootloader: 'pvgrub' } as const;
  await t.rejects(dom0.make('x', { boot }, { mirror }), { code: 'wrong_state', message: /no pvgrub/ });
  await t.rejects(dom0.make('x', { userData: '#!' }, { mirror }), { code: 'invalid', message: /cloud-init/ });
  await t.rejects(dom0.make('x', { storage: 'lvm-snapshot' }, { mirror }), { code: 'invalid', message: /snapshot/ });
  act = (folder) => {
    mkdirSync(join(folder, 'debootstrap'), { recursive: true });
    writeFileSync(join(folder, 'debootstrap/debootstrap.log'), 'dpkg: error\n');
    return 'E: Failed getting release file\n';
  };
  await t.rejects(dom0.make('x', {}, { mirror }), {
    code: 'unavailable',
    details: { output: /dpkg: error\nE: Failed/ },
  });
  act = (folder) => {
    plantSystem(folder);
    writeFileSync(join(folder, 'root/large'), Buffer.alloc(20 * MIB, 'x'));
    return '';
  };
  await t.rejects(dom0.make('x', { diskMib: 16 }, { mirror }), { code: 'invalid', details: { hint: /--disk/ } });
  const abort = new AbortController();
  act = (folder) => {
    mkdirSync(folder);
    abort.abort(new Error('cancelled'));
    return '';
  };
  await t.rejects(dom0.make('x', {}, { mirror }, abort.signal), { message: /cancelled/ });
  t.ok(dom0.isEmpty());
  t.notOk(existsSync(dom0.pathOf('x')));
});
