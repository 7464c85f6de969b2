// What this account keeps of the dom0s that it reaches by ssh, below the data folder:
//   ssh/HOST.known_hosts   the keys that the present deployment showed; nobody else's known_hosts is read or written
//   ssh/HOST.json          how it is reached
//   ssh/HOST.tunnel        how its tunnel is, where it has one
//   ssh/tunnel.pid, .log   the process that keeps tunnels up
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { defaultDataDir } from '../../../shared/domain/socket-path.js';
import { AppError, messageOf } from '../../../shared/errors.js';
import type { World } from '../world.js';
import type { SshTarget } from './ssh.js';

const Port = v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535));

const Schema = v.object({
  user: v.string(),
  /** A file that stands in for ~/.ssh/config; null: that one. */
  sshConfig: v.nullable(v.string()),
  /** The testbed's job when its key was taken; null: none was known. */
  jobId: v.nullable(v.string()),
  /** null: the agent dials the controller directly. */
  tunnel: v.nullable(
    v.object({
      /** Ends on the dom0's loopback, and where on this side they lead. */
      sessionPort: Port,
      joinPort: Port,
      sessionTarget: v.string(),
      joinTarget: v.string(),
    }),
  ),
});

/** How a dom0 is reached. */
export type Dom0Record = Readonly<v.InferOutput<typeof Schema>>;
export type TunnelRecord = NonNullable<Dom0Record['tunnel']>;

export class Dom0Folder {
  readonly path: string;

  /** @param dataDir absolute */
  constructor(dataDir: string) {
    this.path = join(dataDir, 'ssh');
  }

  async make(): Promise<void> {
    try {
      await mkdir(this.path, { recursive: true, mode: 0o700 });
    } catch (error) {
      const details = { path: this.path, hint: 'DOMHERD_DATA_DIR=DIR domherd ... keeps it elsewhere' };
      throw new AppError('unavailable', `${this.path} cannot be made: ${messageOf(error)}`, details, error);
    }
  }

  /** `undefined`: there is none, or none that can be read. */
  async load(host: string): Promise<Dom0Record | undefined> {
    try {
      return v.parse(Schema, JSON.parse(await readFile(this.recordPath(host), 'utf8')));
    } catch {
      return undefined;
    }
  }

  async save(host: string, record: Dom0Record): Promise<void> {
    const temporary = `${this.recordPath(host)}.${String(process.pid)}.tmp`;
    await writeFile(temporary, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
    await rename(temporary, this.recordPath(host));
  }

  /** All that have a record, by name. */
  async list(): Promise<readonly string[]> {
    const names = await readdir(this.path).catch(() => []);
    return names
      .filter((name) => name.endsWith('.json'))
      .map((name) => name.slice(0, -'.json'.length))
      .sort();
  }

  /** Host names have no `/` and do not begin with `.`. */
  knownHostsPath(host: string): string {
    return join(this.path, `${host}.known_hosts`);
  }

  tunnelStatePath(host: string): string {
    return join(this.path, `${host}.tunnel`);
  }

  /** Has the number of the process that keeps tunnels. */
  get keeperPath(): string {
    return join(this.path, 'tunnel.pid');
  }

  get keeperLogPath(): string {
    return join(this.path, 'tunnel.log');
  }

  /** The next key that the host shows is taken; what was known before is kept beside, for looking things up. */
  async forgetKeys(host: string): Promise<void> {
    const path = this.knownHostsPath(host);
    await rename(path, `${path}.old`).catch(() => undefined);
  }

  async forget(host: string): Promise<void> {
    const known = this.knownHostsPath(host);
    const paths = [this.recordPath(host), known, `${known}.old`, this.tunnelStatePath(host)];
    await Promise.all(paths.map((path) => rm(path, { force: true })));
  }

  private recordPath(host: string): string {
    return join(this.path, `${host}.json`);
  }
}

/** The folder of the one who calls. */
export function dom0FolderOf({ env, user }: World): Dom0Folder {
  const { uid, home } = user();
  const account = { uid, home, xdgDataHome: env['XDG_DATA_HOME'], xdgRuntimeDir: env['XDG_RUNTIME_DIR'] };
  return new Dom0Folder(env['DOMHERD_DATA_DIR'] || defaultDataDir(account));
}

export function sshTarget(folder: Dom0Folder, host: string, { user, sshConfig }: Dom0Record): SshTarget {
  return { host, user, sshConfig, knownHosts: folder.knownHostsPath(host) };
}
