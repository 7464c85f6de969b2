import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { basename, join } from 'node:path';
import type { LiveAdmission, LiveOffer, SharedDisk } from '../../../shared/domain/live-migration.js';
import { AppError, wrongState } from '../../../shared/errors.js';
import { outputOf, type Exec } from '../../../shared/exec.js';
import {
  checkFollowed,
  checkIdentity,
  checkSamples,
  checkXen,
  planSamples,
  refuseLive,
  type LiveGuest,
} from '../../domain/live-move.js';
import type { AuthorizedKeys } from '../../ports/authorized-keys.js';
import type { LiveMover } from '../../ports/live-mover.js';
import type { ReportProgress } from '../../services/order-runner.js';
import { MigrationDoor } from './migration-door.js';
import { endAndWait, findProcesses, kill } from './process-end.js';
import { DIGEST_OF_ZEROS, identifyDevice, readSamples } from './shared-device.js';
import type { XenHost } from './xen-host.js';
import { SCOPE, XlCommand } from './xl-command.js';

const KEY_MS = 30_000;
/** A handshake on a slow host. */
const REACH_MS = 30_000;
/** The order's own limit cuts it before. */
const MIGRATE_MS = 3_700_000;
/** For xl to see that its line was cut, and to let the guest go on. */
const RESUME_MS = 60_000;
/** In ssh's configuration, and in its list of known hosts. */
const TARGET = 'migration-target';

export interface XlLiveMoverParts {
  readonly exec: Exec;
  readonly host: XenHost;
  /** Of dom0. */
  readonly domidOf: (name: string) => Promise<number>;
  /** For people; `undefined` if nobody uses the disk. */
  readonly userOf: (path: string) => Promise<string | undefined>;
  /** For keys of this side; emptied at each start. */
  readonly workFolder: string;
  /** For what the other side may enter; outlives the process. */
  readonly doorFolder: string;
  readonly keys: AuthorizedKeys;
  readonly places: LivePlaces;
  readonly random: () => number;
}

export interface LivePlaces {
  /** Of sshd: /etc/ssh. */
  readonly sshdFolder: string;
  readonly sys: string;
  readonly proc: string;
  /** Of this host, for other hosts. */
  readonly addresses: () => readonly string[];
}

/** On this machine. */
export function livePlaces(): LivePlaces {
  return {
    ...{ sshdFolder: '/etc/ssh', sys: '/sys', proc: '/proc' },
    addresses: () =>
      Object.values(networkInterfaces())
        .flatMap((addresses) => addresses ?? [])
        .filter(({ family, internal, address }) => family === 'IPv4' && !internal && !address.startsWith('169.254.'))
        .map(({ address }) => address),
  };
}

/**
 * Domains go by `xl migrate` over ssh, with a key that is made for each and lets in that one domain. What is cut is the line, never
 * xl: it then lets the guest go on.
 */
export class XlLiveMover implements LiveMover {
  readonly #parts: XlLiveMoverParts;
  readonly #xl: XlCommand;
  readonly #door: MigrationDoor;

  constructor(parts: XlLiveMoverParts) {
    const { exec, host, doorFolder, keys, places } = parts;
    this.#parts = parts;
    this.#xl = new XlCommand(exec, host);
    const scope = host.systemdRun === undefined ? [] : [host.systemdRun, ...SCOPE, '--'];
    this.#door = new MigrationDoor({
      keys,
      proc: places.proc,
      folder: doorFolder,
      receive: [...scope, host.xl, 'migrate-receive'],
    });
  }

  async offer(
    id: string,
    guest: LiveGuest,
    signal: AbortSignal,
  ): Promise<Pick<LiveOffer, 'disks' | 'publicKey' | 'xenVersion'>> {
    const disks = await Promise.all(guest.disks.map((path) => this.#look(path, signal)));
    const { xenVersion, hasShadowPaging } = await this.#xl.info();
    checkFollowed(hasShadowPaging, guest);
    return { disks, xenVersion, publicKey: await this.#makeKey(id, signal) };
  }

  async admit(
    id: string,
    _cfgPath: string,
    { disks, xenVersion, publicKey }: LiveOffer,
    signal: AbortSignal,
  ): Promise<LiveAdmission> {
    const { exec, userOf, places } = this.#parts;
    checkXen(xenVersion, (await this.#xl.info()).xenVersion);
    const samples: (readonly string[])[] = [];
    for (const disk of disks) {
      checkIdentity(disk, await identifyDevice(disk.path, places.sys));
      const user = await userOf(disk.path);
      if (user !== undefined) throw refuseLive(`${disk.path} is in use on the other host: ${user}`);
      samples.push(await readSamples(exec, disk, signal));
    }
    const [hostKeys, port] = [await this.#hostKeys(), await this.#port()];
    signal.throwIfAborted();
    await this.#door.open(id, publicKey);
    return { addresses: places.addresses(), port, hostKeys, samples };
  }

  async handOver(
    id: string,
    offer: LiveOffer,
    admission: LiveAdmission,
    progress: ReportProgress,
    signal: AbortSignal,
  ): Promise<void> {
    for (const [n, disk] of offer.disks.entries()) {
      const again = await readSamples(this.#parts.exec, disk, signal);
      checkSamples(disk, admission.samples[n] ?? [], again, DIGEST_OF_ZEROS);
    }
    const address = await this.#reach(id, admission, signal);
    const domid = await this.#parts.domidOf(offer.name);
    signal.throwIfAborted();
    progress(`send its memory to ${address}`);
    await this.#migrate(id, domid, signal);
  }

  async closeArrival(id: string): Promise<void> {
    await this.#door.close(id);
  }

  async closeDeparture(id: string): Promise<void> {
    await this.#cut(this.#folderOf(id));
    await rm(this.#folderOf(id), { recursive: true, force: true });
  }

  async recover(): Promise<void> {
    await this.#door.withdrawAll();
    const folder = `${this.#parts.workFolder}/migrate-`;
    await this.#hangUp((word) => word.includes(folder));
  }

  async #look(path: string, signal: AbortSignal): Promise<SharedDisk> {
    const { exec, places, random } = this.#parts;
    const device = await identifyDevice(path, places.sys);
    const offsets = planSamples(device, random);
    return { ...device, offsets, digests: await readSamples(exec, { path, offsets }, signal) };
  }

  async #makeKey(id: string, signal: AbortSignal): Promise<string> {
    const folder = this.#folderOf(id);
    if (!/^[\w./-]+$/.test(folder)) throw wrongState(`${folder} cannot stand in a command of ssh`);
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const argv = [
      'ssh-keygen',
      '-q',
      '-t',
      'ed25519',
      '-N',
      '',
      '-C',
      `migration ${id}`,
      '-f',
      join(folder, 'key'),
    ] as const;
    const result = await this.#parts.exec.run(argv, { timeoutMs: KEY_MS, signal });
    signal.throwIfAborted();
    if (result.kind !== 'ok') {
      const hint = 'apt-get install openssh-client, on the dom0';
      throw new AppError('unavailable', 'A key for the migration cannot be made', { output: outputOf(result), hint });
    }
    return (await readFile(join(folder, 'key.pub'), 'latin1')).trim();
  }

  /** @returns the address that answers, with the host key that it should have */
  async #reach(id: string, { addresses, port, hostKeys }: LiveAdmission, signal: AbortSignal): Promise<string> {
    const folder = this.#folderOf(id);
    const known = hostKeys.map((key) => `${TARGET} ${key}\n`).join('');
    await writeFile(join(folder, 'known_hosts'), known);
    const said: string[] = [];
    for (const address of addresses) {
      await writeFile(join(folder, 'config'), sshConfig(folder, address, port));
      const argv = ['ssh', '-F', join(folder, 'config'), TARGET, 'true'] as const;
      const result = await this.#parts.exec.run(argv, { timeoutMs: REACH_MS, signal });
      signal.throwIfAborted();
      if (result.kind === 'ok') return address;
      said.push(`${address}: ${result.kind === 'failed' ? outputOf(result) : result.kind}`);
    }
    throw new AppError('unavailable', `The other host cannot be reached by ssh at ${addresses.join(', ')}`, {
      output: said.join('\n'),
      hint: 'its sshd has to let root in by key; --cold goes through the controller',
    });
  }

  async #migrate(id: string, domid: number, signal: AbortSignal): Promise<void> {
    const { exec, host } = this.#parts;
    const folder = this.#folderOf(id);
    const argv = [host.xl, 'migrate', '-s', `ssh -F ${join(folder, 'config')}`, `${domid}`, TARGET] as const;
    const command = host.systemdRun === undefined ? argv : ([host.systemdRun, ...SCOPE, '--', ...argv] as const);
    const cut = (): void => void this.#hangUp((word) => word.includes(`${folder}/`));
    signal.addEventListener('abort', cut, { once: true });
    try {
      const result = await exec.run(command, { timeoutMs: MIGRATE_MS });
      if (result.kind === 'ok') return;
      signal.throwIfAborted();
      throw wrongState('xl migrate failed', { output: outputOf(result) });
    } finally {
      signal.removeEventListener('abort', cut);
    }
  }

  /** Hangs up; xl ends then by itself, and what does not is killed. */
  async #cut(folder: string): Promise<void> {
    const isOurs = (word: string): boolean => word.includes(`${folder}/`);
    await this.#hangUp(isOurs);
    for (const one of await findProcesses(this.#parts.places.proc, (argv) => argv.some(isOurs))) {
      if (await endAndWait(one, RESUME_MS)) continue;
      throw new AppError('unavailable', `Process ${one.pid}, which sends a domain, does not end`);
    }
  }

  async #hangUp(isOurs: (word: string) => boolean): Promise<void> {
    const isSsh = (argv: readonly string[]): boolean => basename(argv[0] ?? '') === 'ssh' && argv.some(isOurs);
    for (const { pid } of await findProcesses(this.#parts.places.proc, isSsh)) kill(pid);
  }

  async #hostKeys(): Promise<readonly string[]> {
    const { sshdFolder } = this.#parts.places;
    const names = (await readdir(sshdFolder)).filter((name) => /^ssh_host_\w+_key\.pub$/.test(name));
    const texts = await Promise.all(names.map((name) => readFile(join(sshdFolder, name), 'latin1')));
    const keys = texts.flatMap((text) => /^\S+ \S+/.exec(text) ?? []);
    if (keys.length > 0) return keys;
    throw refuseLive(`This host has no ssh host keys in ${sshdFolder}`);
  }

  async #port(): Promise<number> {
    const text = await readFile(join(this.#parts.places.sshdFolder, 'sshd_config'), 'latin1').catch(() => '');
    return Number(/^\s*Port\s+(\d+)/im.exec(text)?.[1] ?? 22);
  }

  #folderOf(id: string): string {
    return join(this.#parts.workFolder, `migrate-${id}`);
  }
}

function sshConfig(folder: string, address: string, port: number): string {
  const settings = {
    HostName: address,
    Port: port,
    User: 'root',
    IdentityFile: join(folder, 'key'),
    IdentitiesOnly: 'yes',
    BatchMode: 'yes',
    HostKeyAlias: TARGET,
    StrictHostKeyChecking: 'yes',
    UserKnownHostsFile: join(folder, 'known_hosts'),
    GlobalKnownHostsFile: '/dev/null',
    ConnectTimeout: 10,
    // A host that went away is noticed.
    ServerAliveInterval: 15,
    LogLevel: 'ERROR',
  };
  return `Host ${TARGET}\n${Object.entries(settings)
    .map(([key, value]) => `  ${key} ${value}\n`)
    .join('')}`;
}
