import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  linkSync,
  mkdirSync,
  openSync,
  closeSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { formatIpv4, parseIpv4 } from '../../shared/domain/ipv4.js';
import { parseMac } from '../../shared/domain/mac.js';
import { createExec, type Exec } from '../../shared/exec.js';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { KernelDiskUse } from '../../agent/adapters/guest/disk-use.js';
import { E2fsGuestDisk } from '../../agent/adapters/guest/e2fs-guest-disk.js';
import type { GuestSettings } from '../../agent/domain/order.js';
import { parseXlCfg } from '../../agent/domain/xl-cfg/xl-cfg.js';
import type { Guest } from '../../agent/ports/guest-disk.js';
import { guestDiskContract } from '../contract/guest-disk-contract.js';
import {
  DEBIAN,
  fsBytes,
  INTERFACES,
  isClean,
  lengthen,
  makeImage,
  ownershipInImage,
  readInImage,
  type SampleFile,
} from '../harness/guest-image.js';

// Real file systems in files, edited by the real programs of e2fsprogs; loop devices and mounts where they are the point.

const NEVER = new AbortController().signal;
const EXEC = createExec(process.env);

const SITE = {
  prefixLength: 14,
  broadcast: parseIpv4('10.183.255.255'),
  gateway: parseIpv4('10.183.255.254'),
  dns: [parseIpv4('172.16.16.247')],
  domain: 'grenoble.example',
};

function settings(address = '10.180.0.7', hostname: string | undefined = 'vm7'): GuestSettings {
  const vif = {
    index: 0,
    mac: parseMac('00:16:3e:b4:00:07'),
    address: parseIpv4(address),
    settings: SITE,
    hasDefaultRoute: true,
  };
  return { vifs: [vif], hostname };
}

interface Rig {
  readonly root: string;
  readonly image: string;
  readonly guest: Guest;
  readonly disk: E2fsGuestDisk;
  readonly commands: string[];
  /** Another agent on the same state folder. */
  readonly again: () => E2fsGuestDisk;
}

function makeRig(
  t: Test,
  files: Readonly<Record<string, SampleFile>> = DEBIAN,
  options: Parameters<typeof makeImage>[2] = {},
): Rig {
  const root = t.testdir();
  const image = join(root, 'disk.img');
  makeImage(image, files, options);
  return rigOn(root, image);
}

function rigOn(root: string, image: string, workFolder = join(root, 'work')): Rig {
  const commands: string[] = [];
  const exec: Exec = { run: (argv, limits) => (commands.push(argv.join(' ')), EXEC.run(argv, limits)) };
  const again = (): E2fsGuestDisk =>
    new E2fsGuestDisk({
      exec,
      use: new KernelDiskUse(),
      changes: new DirRecordStore(join(root, 'changes')),
      originals: new DirRecordStore(join(root, 'originals')),
      workFolder,
    });
  const cfg = parseXlCfg(
    `name = 'domU'\nroot = '/dev/xvda2 ro'\ndisk = [ 'file:${image},xvda2,w', 'file:${root}/swap.img,xvda1,w' ]\nvif = [ 'bridge=br0' ]\n`,
  );
  return { root, image, guest: { name: 'domU', cfgPath: '/etc/xen/domU.cfg', cfg }, disk: again(), commands, again };
}

function hashOf(path: string): string {
  return createHash('sha256').update(readFileSync(path)).digest('hex');
}

async function addressOf(disk: E2fsGuestDisk, guest: Guest): Promise<string | undefined> {
  const address = (await disk.read(guest))?.addresses.get(0);
  return address === undefined ? undefined : formatIpv4(address);
}

t.test('is a guest disk', (t) => {
  guestDiskContract(t, (t) => {
    const { guest, again, image } = makeRig(t);
    const size = { lengthen: () => lengthen(image), usableBytes: () => fsBytes(image) };
    return Promise.resolve({ guest, open: () => Promise.resolve(again()), ...size });
  });
  t.end();
});

t.test('a guest with ifupdown', (t) => {
  t.test('gets its address, DNS and name; all else stays', async (t) => {
    const { image, guest, disk } = makeRig(t);
    t.strictSame(await disk.read(guest), { addresses: new Map(), hostname: 'domU' });
    const change = await disk.write(guest, settings(), NEVER);
    await change.keep();
    t.equal(
      readInImage(image, '/etc/network/interfaces'),
      INTERFACES.replace(
        'iface eth0 inet dhcp\n',
        'iface eth0 inet static\n    address 10.180.0.7\n    netmask 255.252.0.0\n    broadcast 10.183.255.255\n' +
          '    gateway 10.183.255.254\n    dns-nameservers 172.16.16.247\n    dns-search grenoble.example\n',
      ),
    );
    t.equal(readInImage(image, '/etc/resolv.conf'), 'search grenoble.example\nnameserver 172.16.16.247\n');
    t.equal(readInImage(image, '/etc/hostname'), 'vm7\n');
    t.equal(
      readInImage(image, '/etc/hosts'),
      '127.0.0.1\tlocalhost\n127.0.1.1\tvm7.grenoble.example vm7\n10.180.0.7\tvm7.grenoble.example vm7\n',
    );
    t.ok(isClean(image));
    t.equal(await addressOf(disk, guest), '10.180.0.7');
  });

  t.test('is left alone when all is so already', async (t) => {
    const { image, guest, disk } = makeRig(t);
    await (await disk.write(guest, settings(), NEVER)).keep();
    const before = hashOf(image);
    await (await disk.write(guest, settings(), NEVER)).undo();
    t.equal(hashOf(image), before);
  });

  const types = [
    { type: 'ext2', mkfs: ['-b', '1024'] },
    { type: 'ext3', mkfs: ['-b', '4096'] },
    { type: 'ext4', mkfs: ['-b', '1024', '-O', '^metadata_csum'] },
    { type: 'ext4', mkfs: ['-b', '4096', '-O', '64bit,metadata_csum'] },
  ];
  for (const { type, mkfs } of types) {
    t.test(`can be undone to the last byte: ${type} ${mkfs.join(' ')}`, async (t) => {
      const { image, guest, disk } = makeRig(t, DEBIAN, { type, mkfs });
      await (await disk.write(guest, settings('10.180.0.6'), NEVER)).keep();
      const before = hashOf(image);
      const change = await disk.write(guest, settings('10.180.0.7'), NEVER);
      t.not(hashOf(image), before);
      t.ok(isClean(image));
      t.equal(await addressOf(disk, guest), '10.180.0.7');
      await change.undo();
      await change.undo();
      t.equal(hashOf(image), before);
      t.equal(await addressOf(disk, guest), '10.180.0.6');
    });
  }

  t.test('keeps mode and owner of what is replaced', async (t) => {
    const { image, guest, disk } = makeRig(t);
    const commands =
      'set_inode_field /etc/resolv.conf mode 0100600\nset_inode_field /etc/resolv.conf uid 70000\nset_inode_field /etc/resolv.conf gid 7\n';
    execFileSync('debugfs', ['-w', '-f', '-', image], { input: commands, stdio: ['pipe', 'ignore', 'ignore'] });
    await disk.write(guest, settings(), NEVER);
    t.equal(ownershipInImage(image, '/etc/resolv.conf'), '0600 70000 7');
    t.equal(ownershipInImage(image, '/etc/network/interfaces'), '0644 0 0');
  });

  t.test('links of resolv.conf: one into /run stays, another becomes a file', async (t) => {
    const { image, guest, disk } = makeRig(t, {
      ...DEBIAN,
      '/etc/resolv.conf': { link: '../run/systemd/resolve/stub-resolv.conf' },
    });
    await disk.write(guest, settings(), NEVER);
    t.match(ownershipInImage(image, '/etc/resolv.conf'), /^0777/);
    const other = makeRig(t, {
      ...DEBIAN,
      '/etc/resolv.conf': { link: 'resolv.mine' },
      '/etc/resolv.mine': 'nameserver 192.0.2.9\n',
    });
    await other.disk.write(other.guest, settings(), NEVER);
    t.match(readInImage(other.image, '/etc/resolv.conf'), 'nameserver 172.16.16.247');
    t.match(readInImage(other.image, '/etc/resolv.mine'), 'nameserver 192.0.2.9');
  });

  t.test('hard links and symbolic links to the image stay what they are', async (t) => {
    const { root, image } = makeRig(t);
    linkSync(image, join(root, 'hard.img'));
    symlinkSync(image, join(root, 'soft.img'));
    const rig = rigOn(root, join(root, 'soft.img'));
    await (await rig.disk.write(rig.guest, settings(), NEVER)).keep();
    t.equal(readInImage(join(root, 'hard.img'), '/etc/hostname'), 'vm7\n');
  });

  t.test('warns of what is dangerous in a copied image', async (t) => {
    const { guest, disk } = makeRig(t, {
      ...DEBIAN,
      '/etc/shadow': 'root::1:0:9:7:::\n',
      '/root/.ssh/id_rsa': 'PRIVATE',
    });
    const { warnings } = await disk.write(guest, settings(), NEVER);
    t.match(warnings.join('\n'), /root has an empty password[^]*\/root\/.ssh\/id_rsa is a private key/);
  });
  t.end();
});

const WITHOUT_IFUP = Object.fromEntries(Object.entries(DEBIAN).filter(([path]) => path !== '/sbin/ifup'));

t.test('a guest with systemd-networkd, and a file of ifupdown left over', async (t) => {
  const own = '/etc/systemd/network/05-domherd-vif0.network';
  const wants = '/etc/systemd/system/multi-user.target.wants/systemd-networkd.service';
  const { image, guest, disk } = makeRig(t, {
    ...WITHOUT_IFUP,
    [wants]: { link: '/usr/lib/systemd/system/systemd-networkd.service' },
    '/etc/resolv.conf': { link: '../run/systemd/resolve/stub-resolv.conf' },
  });
  await (await disk.write(guest, settings('10.180.0.6'), NEVER)).keep();
  await (await disk.write(guest, settings(), NEVER)).keep();
  t.match(readInImage(image, own), /^MACAddress=00:16:3e:b4:00:07$[^]*^Address=10\.180\.0\.7\/14$/m);
  t.equal(ownershipInImage(image, own), '0644 0 0');
  t.equal(readInImage(image, '/etc/network/interfaces'), INTERFACES);
  t.equal(readInImage(image, '/etc/resolv.conf'), '', 'still a link');
  t.equal(readInImage(image, '/etc/hostname'), 'vm7\n');
  t.ok(isClean(image));
  t.equal(await addressOf(disk, guest), '10.180.0.7');
});

t.test('a guest with netplan, and a file of ifupdown left over', async (t) => {
  const own = '/etc/netplan/90-domherd-vif0.yaml';
  const { image, guest, disk } = makeRig(t, {
    ...WITHOUT_IFUP,
    '/lib': { link: 'usr/lib' },
    '/usr/lib/netplan/00-all.yaml':
      'network:\n  version: 2\n  ethernets:\n    all: {match: {name: "e*"}, dhcp4: true}\n',
    '/usr/libexec/netplan/generate': { text: '#!/bin/sh\n', mode: 0o755 },
  });
  const change = await disk.write(guest, settings(), NEVER);
  t.match(readInImage(image, own), /^ +addresses: \["10\.180\.0\.7\/14"\]$/m);
  t.equal(ownershipInImage(image, own), '0600 0 0');
  t.equal(readInImage(image, '/etc/network/interfaces'), INTERFACES);
  t.ok(isClean(image));
  t.equal(await addressOf(disk, guest), '10.180.0.7');
  await change.undo();
  t.equal(readInImage(image, own), '');
  t.ok(isClean(image));
});

t.test('reading is cheap', async (t) => {
  const { image, guest, disk, commands } = makeRig(t);
  await disk.read(guest);
  const first = commands.length;
  t.ok(first > 0);
  await disk.read(guest);
  t.equal(commands.length, first, 'nothing is run while the image is as it was');
  await (await disk.write(guest, settings(), NEVER)).keep();
  commands.length = 0;
  t.equal(await addressOf(disk, guest), '10.180.0.7');
  t.equal(commands.length, first);
  t.notOk(
    commands.some((command) => command.startsWith('e2fsck')),
    'the guest might be running',
  );
  const loop = execFileSync('losetup', ['-f', '--show', image]).toString().trim();
  t.teardown(() => execFileSync('losetup', ['-d', loop]));
  writeFileSync(image, 'x', { flag: 'r+' });
  await disk.read(guest);
  t.equal(commands.length, first, 'what a running guest writes is no reason to look');
});

t.test('a disk that is used is refused, whoever does it', async (t) => {
  const { root, image, guest, disk } = makeRig(t);
  const before = hashOf(image);
  const refused = async (by: RegExp): Promise<void> => {
    await t.rejects(disk.write(guest, settings(), NEVER), { code: 'wrong_state', details: { user: by } });
    t.equal(hashOf(image), before);
  };
  const fd = openSync(image, 'r');
  await refused(/^process \d+/);
  closeSync(fd);
  linkSync(image, join(root, 'other-name.img'));
  const other = openSync(join(root, 'other-name.img'), 'r');
  await refused(/^process \d+/);
  closeSync(other);
  const loop = execFileSync('losetup', ['-f', '--show', join(root, 'other-name.img')])
    .toString()
    .trim();
  await refused(/^\/dev\/loop\d+$/);
  execFileSync('losetup', ['-d', loop]);
  await disk.write(guest, settings(), NEVER);
});

t.test('a block device', async (t) => {
  const { root, image } = makeRig(t);
  const loop = execFileSync('losetup', ['-f', '--show', image]).toString().trim();
  const mounted = join(root, 'mnt');
  t.teardown(() => {
    execFileSync('losetup', ['-d', loop]);
  });
  const { guest, disk } = rigOn(root, loop);
  const change = await disk.write(guest, settings(), NEVER);
  t.equal(readInImage(loop, '/etc/hostname'), 'vm7\n');
  t.equal(await addressOf(disk, guest), '10.180.0.7');
  await change.undo();
  t.equal(readInImage(loop, '/etc/hostname'), 'domU\n');
  mkdirSync(mounted);
  execFileSync('mount', ['-o', 'ro', loop, mounted]);
  await t.rejects(disk.write(guest, settings(), NEVER), { code: 'wrong_state', details: { user: /mount on/ } });
  execFileSync('umount', [mounted]);
});

t.test('a dirty file system', (t) => {
  t.test('has its journal replayed first, so that the guest does not undo what was written', async (t) => {
    const { root, image } = makeRig(t);
    const mounted = join(root, 'mnt');
    mkdirSync(mounted);
    execFileSync('mount', ['-o', 'loop', image, mounted]);
    writeFileSync(join(mounted, 'etc/hosts'), '127.0.0.1\tlocalhost\n# from the journal\n');
    execFileSync('sync', ['-f', mounted]);
    // As the disk of a guest that was destroyed: what it wrote is in the journal, and it was not unmounted.
    execFileSync('cp', ['--sparse=always', image, join(root, 'torn.img')]);
    execFileSync('umount', [mounted]);
    t.match(
      execFileSync('dumpe2fs', ['-h', join(root, 'torn.img')], { stdio: ['ignore', 'pipe', 'ignore'] }).toString(),
      'needs_recovery',
    );
    const torn = rigOn(root, join(root, 'torn.img'));
    await torn.disk.write(torn.guest, settings(), NEVER);
    t.match(readInImage(torn.image, '/etc/hosts'), /# from the journal[^]*10\.180\.0\.7/);
    execFileSync('e2fsck', ['-p', torn.image]);
    t.equal(await addressOf(torn.disk, torn.guest), '10.180.0.7');
  });

  t.test('is refused if it cannot be repaired without asking', async (t) => {
    const { image, guest, disk } = makeRig(t, DEBIAN, { mkfs: ['-O', '^metadata_csum'] });
    const commands = 'clri /etc\nset_super_value state 0\n';
    execFileSync('debugfs', ['-w', '-f', '-', image], { input: commands, stdio: ['pipe', 'ignore', 'ignore'] });
    await t.rejects(disk.write(guest, settings(), NEVER), {
      code: 'wrong_state',
      details: { output: /UNEXPECTED|MANUALLY/ },
    });
  });
  t.end();
});

t.test('what is no ext file system is refused with what it is', (t) => {
  const put = (at: number, text: string) => (image: string) => {
    writeFileSync(image, '');
    truncateSync(image, 1024 * 1024);
    const bytes = Buffer.alloc(1024 * 1024);
    bytes.write(text, at, 'latin1');
    writeFileSync(image, bytes);
  };
  const cases: readonly { name: string; make: (image: string) => void; code: string; message: RegExp }[] = [
    { name: 'encrypted', make: put(0, 'LUKS\xba\xbe'), code: 'invalid', message: /encrypted/ },
    { name: 'LVM', make: put(512, 'LABELONE'), code: 'invalid', message: /LVM inside/ },
    { name: 'partitioned', make: put(510, '\x55\xaa'), code: 'invalid', message: /partition table/ },
    { name: 'qcow2', make: put(0, 'QFI\xfb'), code: 'invalid', message: /qcow2/ },
    { name: 'XFS', make: put(0, 'XFSB'), code: 'invalid', message: /XFS/ },
    { name: 'blank', make: put(0, ''), code: 'invalid', message: /holds nothing/ },
    {
      name: 'missing',
      make: (image) => rmSync(image, { force: true }),
      code: 'not_found',
      message: /There is no disk/,
    },
    { name: 'a folder', make: (image) => mkdirSync(image), code: 'invalid', message: /neither a file/ },
  ];
  for (const c of cases) {
    t.test(c.name, async (t) => {
      const root = t.testdir();
      c.make(join(root, 'disk.img'));
      const { guest, disk } = rigOn(root, join(root, 'disk.img'));
      await t.rejects(disk.write(guest, settings(), NEVER), { code: c.code, message: c.message });
      t.equal(await disk.read(guest), undefined);
    });
  }
  t.end();
});

t.test('no room', (t) => {
  t.test('on the host: the image stays as it was', async (t) => {
    const { root, image } = makeRig(t);
    const small = join(root, 'small');
    mkdirSync(small);
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', small]);
    const { guest, disk } = rigOn(root, image, small);
    const before = hashOf(image);
    await t.rejects(disk.write(guest, settings(), NEVER), { code: 'unavailable' });
    const left = readdirSync(small);
    execFileSync('umount', [small]);
    t.equal(hashOf(image), before);
    t.strictSame(left, []);
  });

  t.test('in the guest: refused, and the image stays as it was', async (t) => {
    const { image, guest, disk } = makeRig(t, DEBIAN, { mkfs: ['-N', '32', '-b', '1024'] });
    const commands = Array.from({ length: 30 }, (_, n) => `write /etc/hostname /f${n}`).join('\n');
    execFileSync('debugfs', ['-w', '-f', '-', image], {
      input: `rm /etc/resolv.conf\n${commands}\n`,
      stdio: ['pipe', 'ignore', 'ignore'],
    });
    const before = hashOf(image);
    await t.rejects(disk.write(guest, settings(), NEVER), { code: 'wrong_state', details: { hint: /free blocks/ } });
    t.equal(hashOf(image), before);
  });
  t.end();
});

t.test('a change that a death left open is found again', async (t) => {
  const { image, guest, disk, again } = makeRig(t);
  await (await disk.write(guest, settings('10.180.0.6'), NEVER)).keep();
  const before = hashOf(image);
  await disk.write(guest, settings('10.180.0.7'), NEVER);
  await t.rejects(again().write(guest, settings('10.180.0.8'), NEVER), { code: 'wrong_state' });
  await (await again().findOpen(guest.cfgPath))?.undo();
  t.equal(hashOf(image), before);
  t.equal(await again().findOpen(guest.cfgPath), undefined);

  const open = await disk.write(guest, settings('10.180.0.7'), NEVER);
  execFileSync('debugfs', ['-w', '-R', 'rm /etc/hostname', image], { stdio: 'ignore' });
  await t.rejects(open.undo(), { code: 'raced' }, 'the guest ran in between');
  t.ok(await again().findOpen(guest.cfgPath));
  await open.keep();
  t.equal(await again().findOpen(guest.cfgPath), undefined);
});

t.test('the files can be made what they were before the first change', async (t) => {
  const before = {
    ...DEBIAN,
    '/etc/resolv.conf': { link: 'resolv.mine' },
    '/etc/resolv.mine': 'nameserver 192.0.2.9\n',
    '/etc/hosts': { text: '127.0.0.1 localhost\n127.0.1.1 domU\n', mode: 0o600 },
  };
  const { image, guest, disk, again } = makeRig(t, before);
  const paths = ['/etc/network/interfaces', '/etc/hostname', '/etc/hosts', '/etc/resolv.mine'];
  const look = () => paths.map((path) => [path, readInImage(image, path), ownershipInImage(image, path)]);
  const original = look();
  t.equal(await disk.restore(guest, NEVER), undefined, 'nothing was changed yet');

  await (await disk.write(guest, settings('10.180.0.6', 'undone'), NEVER)).undo();
  t.equal(await disk.restore(guest, NEVER), undefined, 'what was undone was no change');
  await (await disk.write(guest, settings('10.180.0.6', 'first'), NEVER)).keep();
  await (await again().write(guest, settings('10.180.0.7', 'second'), NEVER)).keep();
  const changed = hashOf(image);
  t.notSame(look(), original);

  const change = await again().restore(guest, NEVER);
  t.same(look(), original);
  t.match(ownershipInImage(image, '/etc/resolv.conf'), /^0777/, 'a link again');
  t.ok(isClean(image));
  await change?.undo();
  t.equal(hashOf(image), changed, 'to the last byte');

  await (await again().restore(guest, NEVER))?.keep();
  t.same(look(), original);
  t.equal(await addressOf(disk, guest), undefined);
  t.equal(await disk.restore(guest, NEVER), undefined, 'it is as if it had never been changed');
});

t.test('the files of a disk that was made anew are not given to the new one', async (t) => {
  const { image, guest, disk, again } = makeRig(t);
  await (await disk.write(guest, settings('10.180.0.6'), NEVER)).keep();
  rmSync(image);
  const files = { ...DEBIAN, '/etc/hostname': 'anew\n' };
  makeImage(image, files);
  const before = hashOf(image);
  await t.rejects(again().restore(guest, NEVER), {
    code: 'wrong_state',
    message: /made anew/,
    details: { hint: /lease release/ },
  });
  t.equal(hashOf(image), before);
  await (await again().write(guest, settings('10.180.0.7'), NEVER)).keep();
  t.equal(readInImage(image, '/etc/hostname'), 'vm7\n');
  await (await again().restore(guest, NEVER))?.keep();
  t.equal(readInImage(image, '/etc/hostname'), 'anew\n', 'what it was itself');
  t.ok(isClean(image));
});
