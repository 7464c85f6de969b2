import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { join } from 'node:path';
import { pino } from 'pino';
import type { Test } from 'tap';
import { DirCfgFolder } from '../../agent/adapters/disk/dir-cfg-folder.js';
import { DirRecordStore } from '../../agent/adapters/disk/dir-record-store.js';
import { RecordArrivals } from '../../agent/adapters/disk/record-arrivals.js';
import { RootAuthorizedKeys } from '../../agent/adapters/disk/root-authorized-keys.js';
import { XlLiveMover } from '../../agent/adapters/xl/xl-live-mover.js';
import { systemClock } from '../../agent/adapters/system/system-clock.js';
import { PIECE_BYTES } from '../../agent/domain/live-move.js';
import type { Domain } from '../../agent/domain/vm.js';
import type { Bridges } from '../../agent/ports/bridges.js';
import type { GuestDisk } from '../../agent/ports/guest-disk.js';
import type { HostReport } from '../../agent/ports/host-report.js';
import type { Toolstack } from '../../agent/ports/toolstack.js';
import { LiveMigrator } from '../../agent/services/live-migrator.js';
import { Observer } from '../../agent/services/observe.js';
import { VmMaker } from '../../agent/services/vm-maker.js';
import { RecordCopyLog } from '../../agent/adapters/disk/record-copy-log.js';
import { createExec, type Exec } from '../../shared/exec.js';
import { freePort } from './dom0-jail.js';

/**
 * What stands for xl: domains are files, and two of it talk as libxl's migration does (xl_migrate.c): the receiver has what comes
 * as NAME--incoming, the sender renames its own to NAME--migratedaway and says go, the receiver takes the name.
 */
const XL = `#!/bin/bash
D=ROOT/domains
say() { printf '%s\\n' "$1"; }
case "$1" in
info) cat ROOT/info ;;
migrate)
  name=$(cat ROOT/domids/$4)
  coproc LINE { exec sh -c "exec $3 $5 xl migrate-receive"; }
  line=$LINE_PID
  exec 3<&\${LINE[0]}- 4>&\${LINE[1]}-
  trap '' PIPE
  resume() { echo 'Migration failed, resuming at sender.' >&2; exit 1; }
  say "$name" >&4 || resume
  read -r ready <&3 && [ "$ready" = ready ] || resume
  while [ -e ROOT/hold ] && kill -0 $line 2>/dev/null; do sleep 0.02; done
  kill -0 $line 2>/dev/null || resume
  mv $D/$name "$D/$name--migratedaway"
  [ -e ROOT/die ] && kill -9 $line
  say go >&4
  read -r report <&3 && [ "$report" = started ] || { echo '** Migration failed during final handshake **' >&2; exit 1; }
  rm "$D/$name--migratedaway"
  ;;
migrate-receive)
  read -r name || exit 1
  echo paused > "$D/$name--incoming"
  say ready
  read -r go && [ "$go" = go ] || { rm "$D/$name--incoming"; exit 1; }
  echo running > "$D/$name--incoming"
  mv "$D/$name--incoming" "$D/$name"
  say started
  ;;
esac
`;

const INFO = (version: string): string =>
  `nr_cpus : 8\ntotal_memory : 16384\nfree_memory : 8192\nxen_version : ${version}\n`;

export interface LiveDom0 {
  readonly root: string;
  readonly live: LiveMigrator;
  readonly mover: XlLiveMover;
  readonly observer: Observer;
  readonly cfgPath: string;
  /** Of the device. */
  wwid: string;
  /** What is read of the device; longer than it is asked for. */
  bytes: Buffer;
  readonly domains: () => readonly string[];
  readonly authorizedKeys: () => string;
  /** Everything that was made for migrations and is not gone. */
  readonly left: () => readonly string[];
  readonly setInfo: (version: string) => void;
}

const DISK_BYTES = 4 * 1024 * 1024;

/** Two dom0s of which one lets the other in by a real sshd; a device that both have is as told. */
export async function openLiveRig(
  t: Test,
): Promise<{ readonly from: LiveDom0; readonly to: LiveDom0; readonly disk: string }> {
  const folder = t.testdir();
  const disk = join(folder, 'shared');
  execFileSync('mknod', [disk, 'b', '7', '0']);
  const port = await freePort();
  const [from, to] = [makeDom0(join(folder, 'dom0-1'), disk, port), makeDom0(join(folder, 'dom0-2'), disk, port)];
  const sshd = await startSshd(to.root, port);
  t.teardown(() => sshd.kill('SIGKILL'));
  writeFileSync(from.cfgPath, cfgOf(from.root, disk));
  writeFileSync(join(from.root, 'domains', 'web'), 'running\n');
  return { from, to, disk };
}

export function cfgOf(root: string, disk: string): string {
  return `# shared\nname = 'web'\nuuid = '11111111-2222-4333-8444-555555555555'\nkernel = '${join(root, '..', 'vmlinuz')}'\nmemory = 256\nvif = ['bridge=br0']\ndisk = ['phy:${disk},xvda2,w']\n`;
}

function makeDom0(root: string, disk: string, port: number): LiveDom0 {
  for (const name of ['xen', 'domains', 'domids', 'ssh', 'sshd', 'bin', 'work', 'sys/dev/block', 'device']) {
    mkdirSync(join(root, name), { recursive: true });
  }
  writeFileSync(join(root, '..', 'vmlinuz'), 'a kernel');
  const xl = join(root, 'bin', 'xl');
  writeFileSync(xl, XL.replaceAll('ROOT', root), { mode: 0o755 });
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(root, 'sshd', 'ssh_host_ed25519_key')]);
  writeFileSync(join(root, 'sshd', 'sshd_config'), `Port ${String(port)}\n`);
  execFileSync('ln', ['-sfn', join(root, 'device'), join(root, 'sys/dev/block/7:0')]);
  writeFileSync(join(root, 'device', 'size'), `${String(DISK_BYTES / 512)}\n`);
  writeFileSync(join(root, 'ssh', 'authorized_keys'), 'ssh-ed25519 AAAAsomebody a person\n', { mode: 0o600 });
  writeFileSync(join(root, 'info'), INFO('4.17.7'));

  const real = createExec(process.env);
  const dom0 = { bytes: sampleBytes(1), wwid: '' };
  // A block device that this machine does not have.
  const exec: Exec = {
    run: async (argv, options) => {
      if (argv[0] !== 'dd') return real.run(argv, options);
      const skip = Number(argv.find((word) => word.startsWith('skip='))?.slice(5));
      const stdout = dom0.bytes.subarray(skip * PIECE_BYTES, (skip + 1) * PIECE_BYTES);
      return { kind: 'ok', argv, stdout, stderr: '' };
    },
  };
  const stateOf = (name: string): Domain['state'] =>
    readFileSync(join(root, 'domains', name), 'utf8').trim() as Domain['state'];
  const names = (): readonly string[] => readdirSync(join(root, 'domains')).sort();
  const toolstack = {
    listDomains: () =>
      Promise.resolve(
        names().map((name) => ({
          ...{ name, uuid: '11111111-2222-4333-8444-555555555555', state: stateOf(name), memoryMib: 256, vcpus: 1 },
        })),
      ),
    destroy: (name: string) => Promise.resolve(rmSync(join(root, 'domains', name))),
    unpause: (name: string) => Promise.resolve(writeFileSync(join(root, 'domains', name), 'running\n')),
  } as Partial<Toolstack> as Toolstack;
  // Nobody reads the device but for the migration.
  const guestDisk = {
    read: () => Promise.reject(new Error('nothing is read')),
    forget: () => Promise.resolve(),
  } as Partial<GuestDisk> as GuestDisk;
  const cfgFolder = new DirCfgFolder(join(root, 'xen'), join(root, 'backup'), systemClock);
  const observer = new Observer(toolstack, cfgFolder, guestDisk);
  const nothing = { xl, xentop: '', systemdRun: undefined, xenstoreSocket: '', libxlFolder: '', backendFolder: '' };
  const mover = new XlLiveMover({
    ...{ exec, host: nothing, workFolder: join(root, 'work'), doorFolder: join(root, 'doors'), random: Math.random },
    keys: new RootAuthorizedKeys(join(root, 'ssh')),
    domidOf: (name) => {
      writeFileSync(join(root, 'domids', '7'), name);
      return Promise.resolve(7);
    },
    userOf: () => Promise.resolve(existsSync(join(root, 'used')) ? 'the mount on /mnt' : undefined),
    // Nobody is at the first.
    places: {
      ...{ sshdFolder: join(root, 'sshd'), sys: join(root, 'sys'), proc: '/proc' },
      addresses: () => ['127.0.0.9', '127.0.0.1'],
    },
  });
  const bridge = { name: 'br0', members: ['eth0'], uplinks: ['eth0'], addresses: [], isUp: true };
  const bridges: Bridges = {
    readBridges: () => Promise.resolve({ bridges: [bridge], xlBridge: undefined, xlScript: undefined }),
  };
  const hostReport = { readMemoryFreeMib: () => Promise.resolve(300) } as Partial<HostReport> as HostReport;
  const maker = new VmMaker({
    ...{ cfgFolder, guestDisk, log: pino({ level: 'silent' }) },
    disks: { remove: () => Promise.reject(new Error('disks stay')) } as never,
    formerCfgs: { put: () => Promise.resolve() } as never,
    autostart: { set: () => Promise.resolve() },
    copies: new RecordCopyLog(new DirRecordStore(join(root, 'copies'))),
  });
  const arrivals = new RecordArrivals(new DirRecordStore(join(root, 'arrivals')));
  const hostFiles = { exists: (path: string) => Promise.resolve(existsSync(path)) };
  const parts = { observer, toolstack, cfgFolder, bridges, hostFiles, hostReport };
  return {
    ...{ root, mover, observer, cfgPath: join(root, 'xen', 'web.cfg'), domains: names },
    live: new LiveMigrator({ ...parts, mover, arrivals, maker }),
    get wwid() {
      return dom0.wwid;
    },
    set wwid(text: string) {
      dom0.wwid = text;
      writeFileSync(join(root, 'device', 'wwid'), `${text}\n`);
    },
    get bytes() {
      return dom0.bytes;
    },
    set bytes(bytes: Buffer) {
      dom0.bytes = bytes;
    },
    authorizedKeys: () => readFileSync(join(root, 'ssh', 'authorized_keys'), 'latin1'),
    left: () =>
      ['work', 'doors'].flatMap((name) => (existsSync(join(root, name)) ? readdirSync(join(root, name)) : [])),
    setInfo: (version) => writeFileSync(join(root, 'info'), INFO(version)),
  };
}

/** Of no two blocks the same. */
export function sampleBytes(seed: number): Buffer {
  const bytes = Buffer.alloc(DISK_BYTES);
  for (let at = 0; at < DISK_BYTES; at += 4096) bytes.writeUInt32LE(seed * 1_000_000 + at / 4096, at);
  return bytes;
}

async function startSshd(root: string, port: number): Promise<ChildProcess> {
  const config = join(root, 'sshd.conf');
  const key = join(root, 'sshd', 'ssh_host_ed25519_key');
  const settings = [
    'ListenAddress 127.0.0.1',
    'PidFile none',
    'UsePAM no',
    'StrictModes no',
    'PasswordAuthentication no',
  ];
  const own = [`Port ${String(port)}`, `HostKey ${key}`, `AuthorizedKeysFile ${join(root, 'ssh', 'authorized_keys')}`];
  writeFileSync(config, [...own, ...settings, 'PermitRootLogin prohibit-password', ''].join('\n'));
  mkdirSync('/run/sshd', { recursive: true });
  const sshd = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', config], { stdio: ['ignore', 'ignore', 'ignore'] });
  while (!(await answers(port))) if (sshd.exitCode !== null) throw new Error('sshd ended');
  return sshd;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => setTimeout(resolve, 20, false));
  });
}
