import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { KernelDiskUse } from '../../agent/adapters/guest/disk-use.js';
import { SeedGuestDisk } from '../../agent/adapters/guest/seed-guest-disk.js';
import { SeedTools } from '../../agent/adapters/guest/seed-tools.js';
import { newSeed, readSeed } from '../../agent/domain/seed/seed-files.js';
import { parseXlCfg } from '../../agent/domain/xl-cfg/xl-cfg.js';
import { createExec } from '../../shared/exec.js';
import { CloudGuest, NEEDS_CLOUD_GUEST, type BootedGuest } from '../harness/cloud-guest.js';
import { makeConfigureRig, settingsOf, stoppedVm } from '../harness/configure-rig.js';
import { DEBIAN, makeImage } from '../harness/guest-image.js';

const NEVER = new AbortController().signal;
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEwX2yXfb0m3VYl8V8zcd3o1v7Kx0m2mBq0K8QfD2Y3N me@frontend';
const USER_DATA = `#cloud-config
# as it is: äöü
manage_etc_hosts: true
write_files:
- {path: /etc/motd, content: of the user data}
bootcmd:
- echo >> /var/log/boots
runcmd:
- echo "$(hostname)" >> /var/log/first-boots
`;
const HOST_KEY = '/etc/ssh/ssh_host_ed25519_key.pub';

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
  return { root, rig, tools, seed, vm, address, disk: join(root, 'domU/disk.img') };
}

/** The n-th address has a MAC of its own. */
function boot(guest: CloudGuest, n: number): BootedGuest {
  const [vif] = settingsOf(n).vifs;
  if (vif === undefined) throw new Error('there is a vif');
  return guest.boot(vif.mac);
}

/** What cloud-init itself found wrong. */
function faultsOf(guest: CloudGuest): readonly string[] {
  const { v1 } = JSON.parse(guest.read('/var/lib/cloud/data/result.json') ?? '') as { v1: { errors: string[] } };
  const log = guest.read('/var/log/cloud-init.log') ?? 'no log';
  return [...v1.errors, ...log.split('\n').filter((line) => /WARNING|ERROR|CRITICAL|no log/.test(line))];
}

t.test(
  'a guest of Debian is what its seed says, anew with each address and once for each',
  NEEDS_CLOUD_GUEST,
  async (t) => {
    const { root, seed, address } = await makeDom0(t);
    const guest = new CloudGuest(join(root, 'guest'), seed);
    const machine = hostname();
    await address(3);
    t.strictSame(boot(guest, 3), { hostname: 'vm3', addresses: ['10.180.0.3/14'], gateways: ['10.183.255.254'] });
    t.strictSame(faultsOf(guest), []);
    t.match(
      guest.read('/run/cloud-init/result.json'),
      /DataSourceNoCloud \[seed=\/dev\/loop/,
      'the disk, by its label',
    );
    t.equal(guest.read('/var/lib/cloud/data/instance-id'), 'domherd-domU-2\n');
    t.equal(guest.read('/etc/hostname'), 'vm3\n');
    t.match(guest.read('/etc/hosts'), /^127\.0\.1\.1 vm3 vm3$/m);
    t.equal(guest.read('/root/.ssh/authorized_keys'), `${KEY}\n`, 'root may log in');
    const interfaces = guest.read('/etc/network/interfaces.d/50-cloud-init') ?? '';
    t.match(interfaces, /dns-nameservers 172\.16\.16\.247\n +dns-search grenoble\.example/);
    t.match(guest.read('/etc/udev/rules.d/70-persistent-net.rules'), /"00:16:3e:b4:00:03", NAME="eth0"/);
    t.equal(guest.read('/var/lib/cloud/instances/domherd-domU-2/user-data.txt'), USER_DATA, 'byte for byte');
    t.equal(guest.read('/etc/motd'), 'of the user data');
    t.equal(guest.read('/var/log/first-boots'), 'vm3\n');
    const hostKey = guest.read(HOST_KEY);
    t.match(hostKey, /root@vm3/);

    await address(4);
    guest.write('/etc/motd', 'of the guest');
    const second = { hostname: 'vm4', addresses: ['10.180.0.4/14'], gateways: ['10.183.255.254'] };
    t.strictSame(boot(guest, 4), second);
    t.equal(guest.read('/var/lib/cloud/data/instance-id'), 'domherd-domU-3\n');
    t.equal(guest.read('/etc/hostname'), 'vm4\n');
    t.match(guest.read('/etc/hosts'), /^127\.0\.1\.1 vm4 vm4$/m);
    t.equal(guest.read('/root/.ssh/authorized_keys'), `${KEY}\n`);
    t.equal(guest.read('/etc/motd'), 'of the user data');
    t.equal(guest.read('/var/log/first-boots'), 'vm3\nvm4\n');
    const secondKey = guest.read(HOST_KEY);
    t.not(secondKey, hostKey);

    await address(4);
    guest.write('/etc/motd', 'of the guest');
    t.strictSame(boot(guest, 4), second);
    t.equal(guest.read('/etc/motd'), 'of the guest', 'nothing is done again for the same instance');
    t.equal(guest.read('/var/log/first-boots'), 'vm3\nvm4\n');
    t.equal(guest.read(HOST_KEY), secondKey);
    t.equal(guest.read('/var/log/boots'), '\n\n\n', 'though cloud-init has run');
    t.strictSame(faultsOf(guest), []);

    t.equal(hostname(), machine, 'nothing of this machine has changed');
    t.notMatch(readFileSync('/proc/mounts', 'utf8'), root);
    t.notMatch(execFileSync('losetup', ['--list']).toString(), seed);
  },
);

t.test('a guest of Debian with netplan, which gets what networkd reads', NEEDS_CLOUD_GUEST, async (t) => {
  const { root, seed, address } = await makeDom0(t);
  await address(3);
  const guest = new CloudGuest(join(root, 'guest'), seed);
  guest.write('/etc/cloud/cloud.cfg.d/90-network.cfg', 'system_info: {network: {renderers: [netplan]}}\n');
  t.equal(boot(guest, 3).hostname, 'vm3');
  t.strictSame(faultsOf(guest), []);
  const network = guest.read('/run/systemd/network/10-netplan-eth0.network') ?? '';
  t.match(network, /^MACAddress=00:16:3e:b4:00:03\nName=eth0$|^PermanentMACAddress=00:16:3e:b4:00:03\nName=eth0$/m);
  t.match(network, /^Address=10\.180\.0\.3\/14$/m);
  t.match(network, /^Gateway=10\.183\.255\.254$/m);
  t.match(network, /^DNS=172\.16\.16\.247\nDomains=grenoble\.example$/m);
});

t.test('a seed is addressed alone, and given back byte for byte', async (t) => {
  const { rig, seed, vm, address, disk, root } = await makeDom0(t);
  t.equal(execFileSync('blkid', ['-p', '-o', 'value', '-s', 'LABEL', seed]).toString().trim(), 'cidata');
  const before = readFileSync(seed);
  const diskBefore = readFileSync(disk);
  await address(3);
  t.ok(readFileSync(disk).equals(diskBefore), "the guest's own files are left alone");
  const written = readFileSync(seed);
  t.notOk(written.equals(before));
  await address(3);
  t.ok(readFileSync(seed).equals(written), 'the same again changes nothing');
  await address(4);
  t.notOk(readFileSync(seed).equals(written));
  await rig.configurer.restore(vm, () => undefined, NEVER);
  t.ok(readFileSync(seed).equals(before));
  t.strictSame(readdirSync(join(root, 'seed-originals')), []);
});

t.test('a change that is open is undone, and a copy is an instance of its own', NEEDS_CLOUD_GUEST, async (t) => {
  const { rig, seed, root, tools, address } = await makeDom0(t);
  const read = async (): Promise<string | undefined> => {
    const files = await tools.read(seed, NEVER);
    return files && readSeed(files).hostname;
  };
  await address(3);
  const guest = { name: 'domU', cfgPath: rig.cfgPath, cfg: parseXlCfg(readFileSync(rig.cfgPath, 'latin1')) };
  const written = readFileSync(seed);
  await rig.guestDisk.write(guest, settingsOf(5), NEVER);
  t.equal(await read(), 'vm5');
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
  const web = new CloudGuest(join(root, 'guest'), join(root, 'web/seed.img'));
  t.match(boot(web, 9), { hostname: 'vm9', addresses: ['10.180.0.9/14'] });
  t.equal(web.read('/var/lib/cloud/data/instance-id'), 'domherd-web-4\n');
  t.equal(web.read('/root/.ssh/authorized_keys'), `${KEY}\n`);
  t.equal(web.read('/etc/motd'), 'of the user data');
});
