import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { formatIpv4, parseIpv4 } from '../../shared/domain/ipv4.js';
import { parseMac } from '../../shared/domain/mac.js';
import { createExec, type Exec } from '../../shared/exec.js';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { KernelDiskUse } from '../../agent/adapters/guest/disk-use.js';
import { DiskViews, endLeftViews } from '../../agent/adapters/guest/disk-view.js';
import { E2fsGuestDisk } from '../../agent/adapters/guest/e2fs-guest-disk.js';
import type { GuestSettings } from '../../agent/domain/order.js';
import { parseXlCfg } from '../../agent/domain/xl-cfg/xl-cfg.js';
import type { Guest } from '../../agent/ports/guest-disk.js';
import { guestDiskContract } from '../contract/guest-disk-contract.js';
import { DEBIAN, fsBytes, isClean, makeImage, readInImage } from '../harness/guest-image.js';

// Real overlays of real file systems, shown by the real program of QEMU.

const NEVER = new AbortController().signal;
const EXEC = createExec(process.env);
const USE = new KernelDiskUse();

function settings(address = '10.180.0.7', hostname = 'vm7'): GuestSettings {
  const site = {
    ...{ prefixLength: 14, broadcast: parseIpv4('10.183.255.255'), gateway: parseIpv4('10.183.255.254') },
    ...{ dns: [parseIpv4('172.16.16.247')], domain: 'grenoble.example' },
  };
  const mac = parseMac('00:16:3e:b4:00:07');
  return {
    vifs: [{ index: 0, mac, address: parseIpv4(address), settings: site, hasDefaultRoute: true }],
    hostname,
  };
}

/** A guest on an overlay, in a folder with a blank and a comma in its name. */
function makeRig(t: Test, exec: Exec = EXEC) {
  const root = mkdtempSync(join(tmpdir(), 'dh-qcow2-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  const images = join(root, 'of domU, 1');
  mkdirSync(images);
  const base = join(images, 'base.img');
  const image = join(images, 'disk.qcow2');
  makeImage(base, DEBIAN, { size: '16M' });
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base, image]);
  const workFolder = join(root, 'work');
  const again = (): E2fsGuestDisk =>
    new E2fsGuestDisk({
      ...{ exec, use: USE, workFolder },
      changes: new DirRecordStore(join(root, 'changes')),
      originals: new DirRecordStore(join(root, 'originals')),
    });
  const cfg = parseXlCfg(
    `name = 'domU'\ndisk = [ 'format=qcow2,vdev=xvda2,access=w,target=${image}' ]\nvif = [ 'bridge=br0' ]\n`,
  );
  const guest: Guest = { name: 'domU', cfgPath: '/etc/xen/domU.cfg', cfg };
  /** What the guest would see. */
  const raw = (): string => {
    const to = join(root, 'seen.img');
    execFileSync('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', image, to]);
    return to;
  };
  return { root, base, image, workFolder, disk: again(), again, guest, raw };
}

async function addressOf(disk: E2fsGuestDisk, guest: Guest): Promise<string | undefined> {
  const address = (await disk.read(guest))?.addresses.get(0);
  return address && formatIpv4(address);
}

function mountsIn(folder: string): number {
  return readFileSync('/proc/mounts', 'latin1').split(` ${folder}/`).length - 1;
}

t.test('is a guest disk', (t) => {
  guestDiskContract(t, (t) => {
    const { guest, again, image, raw } = makeRig(t);
    return Promise.resolve({
      ...{ guest, open: () => Promise.resolve(again()), usableBytes: () => fsBytes(raw()) },
      lengthen: () => Promise.resolve(void execFileSync('qemu-img', ['resize', '-q', '-f', 'qcow2', image, '+16M'])),
    });
  });
  t.end();
});

t.test('what is written is in the overlay alone, and nothing is left open', async (t) => {
  const { base, image, workFolder, disk, guest, raw } = makeRig(t);
  const before = readFileSync(base);
  await disk.renew(guest, {}, NEVER);
  await (await disk.write(guest, settings(), NEVER)).keep();
  t.ok(isClean(raw()));
  t.match(readInImage(raw(), '/etc/network/interfaces'), 'address 10.180.0.7');
  t.ok(readFileSync(base).equals(before), 'its source is as it was');
  t.equal(mountsIn(workFolder), 0);
  t.strictSame(readdirSync(workFolder), []);
  t.equal(await USE.userOf(image), undefined);
  execFileSync('qemu-img', ['check', '-q', '-f', 'qcow2', image]);
});

t.test('a longer overlay gets a longer file system', async (t) => {
  const { image, disk, guest, raw } = makeRig(t);
  execFileSync('qemu-img', ['resize', '-q', '-f', 'qcow2', image, '40M']);
  await disk.grow(guest, NEVER);
  t.ok(isClean(raw()));
  t.equal(fsBytes(raw()), 40 * 1024 * 1024);
});

t.test('who uses it: a write is refused, a read is not', async (t) => {
  const { image, disk, guest, again } = makeRig(t);
  const fd = openSync(image, 'r');
  await t.rejects(disk.write(guest, settings(), NEVER), { code: 'wrong_state', details: { user: /^process \d+/ } });
  closeSync(fd);
  const args = ['--blockdev', `driver=qcow2,node-name=d,file.driver=file,file.filename=${image.replace(',', ',,')}`];
  const model = spawn('qemu-storage-daemon', [...args, '--chardev', 'stdio,id=q', '--monitor', 'chardev=q']);
  await once(model.stdout, 'data');
  await t.rejects(disk.write(guest, settings(), NEVER), { code: 'wrong_state', message: /qemu-storage/ });
  t.equal((await again().read(guest))?.hostname, 'domU');
  model.kill();
  await once(model, 'exit');
  await (await disk.write(guest, settings(), NEVER)).keep();
  t.equal(await addressOf(disk, guest), '10.180.0.7');
});

t.test('a read and writes at a time take turns', async (t) => {
  const { disk, guest, again } = makeRig(t);
  const [written, network] = await Promise.all([disk.write(guest, settings(), NEVER), disk.read(guest)]);
  await written.keep();
  t.ok(network);
  t.equal(await addressOf(again(), guest), '10.180.0.7');
});

t.test('an agent that dies', async (t) => {
  const { root, image, workFolder, disk, again, guest, raw } = makeRig(t);
  await (await disk.write(guest, settings('10.180.0.6', 'vm6'), NEVER)).keep();
  await disk.write(guest, settings(), NEVER);
  t.equal(readInImage(raw(), '/etc/hostname'), 'vm7\n');
  await (await again().findOpen(guest.cfgPath))?.undo();
  t.equal(readInImage(raw(), '/etc/hostname'), 'vm6\n', 'what it left open is undone through another view');
  t.ok(isClean(raw()));

  // Of the program, killed too, a mount is left that answers nothing; then one that still serves.
  for (const isKilled of [true, false]) {
    const hung = holdView(root, image, workFolder);
    await once(hung.stdout, 'data');
    t.equal(mountsIn(workFolder), 1);
    if (isKilled) {
      hung.kill('SIGKILL');
      await once(hung, 'exit');
    }
    await endLeftViews(EXEC, workFolder);
    t.equal(mountsIn(workFolder), 0);
    rmSync(workFolder, { recursive: true });
    if (!isKilled && hung.exitCode === null && hung.signalCode === null) await once(hung, 'exit');
    t.ok(await disk.write(guest, settings(), NEVER).then((change) => change.undo().then(() => true)));
  }
});

/** What an agent has running in the middle of a write. */
function holdView(root: string, image: string, workFolder: string) {
  const folder = join(workFolder, 'view-1');
  mkdirSync(folder, { recursive: true });
  const mountpoint = join(folder, 'raw');
  closeSync(openSync(mountpoint, 'w'));
  const disk = { driver: 'qcow2', 'node-name': 'disk', file: { driver: 'file', filename: image } };
  const view = { type: 'fuse', id: 'view', 'node-name': 'disk', mountpoint, writable: true };
  const options = ['--blockdev', JSON.stringify(disk), '--export', JSON.stringify(view)];
  return spawn('qemu-storage-daemon', [...options, '--chardev', 'stdio,id=q', '--monitor', 'chardev=q'], { cwd: root });
}

t.test('the view ends with the process that asked for it', async (t) => {
  const { image, workFolder } = makeRig(t);
  const script = `
    import { createExec } from ${JSON.stringify(join(process.cwd(), 'shared/exec.ts'))};
    import { DiskViews } from ${JSON.stringify(join(process.cwd(), 'agent/adapters/guest/disk-view.ts'))};
    const views = new DiskViews({
      exec: createExec(process.env), use: { userOf: async () => undefined }, workFolder: ${JSON.stringify(workFolder)},
    });
    await views.withRaw({ path: ${JSON.stringify(image)}, format: 'qcow2' }, 'write', new AbortController().signal,
      async () => { console.log('open'); await new Promise((done) => setTimeout(done, 60_000)); });`;
  const agent = spawn(process.execPath, [...process.execArgv, '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(agent.stdout, 'data');
  t.equal(mountsIn(workFolder), 1);
  agent.kill('SIGKILL');
  for (let n = 0; n < 100 && mountsIn(workFolder) > 0; n += 1) await new Promise((done) => setTimeout(done, 50));
  t.equal(mountsIn(workFolder), 0);
});

t.test('what cannot be opened is refused with why', async (t) => {
  const { root, base, image, guest, disk } = makeRig(t);
  const views = (exec: Exec) => new DiskViews({ exec, use: USE, workFolder: join(root, 'work') });
  const open = (path: string, exec = EXEC) =>
    views(exec).withRaw({ path, format: 'qcow2' }, 'write', NEVER, () => Promise.resolve());
  await t.rejects(open(base), { code: 'invalid', message: /no qcow2 image/ });
  const bare: Exec = {
    run: ([first, ...rest], options) =>
      EXEC.run([first, ...rest.map((word) => (word === 'qemu-storage-daemon' ? '/none' : word))], options),
  };
  await t.rejects(open(image, bare), { code: 'unavailable', details: { hint: /apt-get install qemu-system-common/ } });
  await t.rejects(
    views(EXEC).withRaw({ path: image, format: 'qcow2' }, 'write', NEVER, () => Promise.reject(new Error('of use'))),
    { message: 'of use' },
  );
  const unsaid = join(root, 'unsaid.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'raw', '-b', base, unsaid]);
  const bytes = readFileSync(unsaid);
  // As older qemu-img made them: the extension with the format is one that nobody knows.
  bytes.writeUInt32BE(0x12345678, bytes.indexOf(Buffer.from('e2792aca', 'hex')));
  writeFileSync(unsaid, bytes);
  await t.rejects(open(unsaid), { code: 'invalid', message: /does not say that .* is raw or qcow2/ });
  const second = join(root, 'second.qcow2');
  execFileSync('qemu-img', ['create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b', unsaid, second]);
  await t.rejects(open(second), { code: 'invalid', message: /unsaid\.qcow2 does not say/ });
  execFileSync('qemu-img', ['rebase', '-u', '-f', 'qcow2', '-F', 'raw', '-b', base, unsaid]);
  await open(second);
  t.equal((await disk.read(guest))?.hostname, 'domU');
  rmSync(base);
  await t.rejects(open(image), { code: 'unavailable', details: { output: /base\.img/, hint: /qemu-img check/ } });
});
