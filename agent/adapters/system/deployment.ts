// What is new at each deployment: kadeploy makes a file system, and a tar does not carry its UUID and creation time over.
// The boot id is no part of it. With another `root` than / a test shows it another machine.
import { createHash } from 'node:crypto';
import { access, open, readdir, readFile, type FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { wrongState } from '../../../shared/errors.js';
import type { Exec } from '../../../shared/exec.js';
import type { Deployment, DeploymentFacts } from '../../domain/deployment.js';
import type { DeploymentSource } from '../../ports/host-report.js';
import { parseSuperblock } from './superblock.js';

/** `ip` asks the kernel, which answers at once. */
const IP_MS = 5_000;

export class SystemDeployment implements DeploymentSource {
  readonly #exec: Exec;
  readonly #root: string;

  constructor(exec: Exec, root = '/') {
    this.#exec = exec;
    this.#root = root;
  }

  async readDeploymentId(): Promise<string> {
    return (await this.readDeployment()).id;
  }

  /** @throws {AppError} `wrong_state` if nothing tells this deployment from another */
  async readDeployment(): Promise<Deployment> {
    const [rootFs, machine, macs] = await Promise.all([this.#readRootFs(), this.#readMachine(), this.#readMacs()]);
    const facts: DeploymentFacts = { rootFs, machine, macs };
    if (rootFs === undefined && machine === undefined && macs.length === 0) {
      throw wrongState('This deployment cannot be told from another: no root file system, machine or NIC is known', {
        hint: 'run it as root, on the machine itself',
      });
    }
    const text = JSON.stringify([rootFs ?? null, machine ?? null, macs]);
    return { id: createHash('sha256').update(text).digest('hex').slice(0, 32), facts };
  }

  async #readRootFs(): Promise<string | undefined> {
    const mounts = await this.#readText('proc/self/mountinfo');
    // The last one counts: it is mounted over those before.
    const root = mounts
      ?.split('\n')
      .map(parseMount)
      .findLast((mount) => mount?.point === '/');
    if (root === undefined) return undefined;
    for (const path of await this.#devicesOf(root.device, root.source)) {
      const found = await this.#readSuperblock(path);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  async #devicesOf(device: string, source: string): Promise<readonly string[]> {
    const event = await this.#readText(`sys/dev/block/${device}/uevent`);
    const name = /^DEVNAME=(.+)$/m.exec(event ?? '')?.[1];
    const named = name === undefined ? [] : [`dev/${name}`];
    return [`dev/block/${device}`, ...named, ...(source.startsWith('/') ? [source] : [])];
  }

  async #readSuperblock(path: string): Promise<string | undefined> {
    let file: FileHandle | undefined;
    try {
      file = await open(join(this.#root, path));
      const bytes = Buffer.alloc(72 * 1024);
      const { bytesRead } = await file.read(bytes, 0, bytes.length, 0);
      return parseSuperblock(bytes.subarray(0, bytesRead));
    } catch {
      return undefined;
    } finally {
      await file?.close();
    }
  }

  async #readMachine(): Promise<string | undefined> {
    const uuid = (await this.#readText('sys/class/dmi/id/product_uuid'))?.trim().toLowerCase();
    return uuid === '' ? undefined : uuid;
  }

  /** Bonding and bridges change what a NIC shows as its address; the permanent one stays. */
  async #readMacs(): Promise<readonly string[]> {
    const names = await this.#nics();
    if (names.length === 0) return [];
    const permanent = await this.#askPermanent();
    const macs = await Promise.all(
      names.map(async (name) => permanent.get(name) ?? (await this.#readText(`sys/class/net/${name}/address`))?.trim()),
    );
    return macs.flatMap((mac) => mac?.toLowerCase() ?? []).sort();
  }

  async #nics(): Promise<readonly string[]> {
    const names = await readdir(join(this.#root, 'sys/class/net')).catch(() => []);
    const isNic = await Promise.all(
      names.map(async (name) => {
        // What has no device is a bridge or a bond. A virtual function gets another MAC at each boot, and a vif comes and goes
        // with its domU: its device has the name of its node in xenstore.
        const has = (part: string): Promise<boolean> => this.#exists(`sys/class/net/${name}/${part}`);
        return (await has('device')) && !(await has('device/physfn')) && !(await has('device/nodename'));
      }),
    );
    return names.filter((_, n) => isNic[n]);
  }

  async #askPermanent(): Promise<ReadonlyMap<string, string>> {
    const { kind, stdout } = await this.#exec.run(['ip', '-j', 'link', 'show'], { timeoutMs: IP_MS });
    return kind === 'ok' ? parseIpLinks(stdout.toString()) : new Map();
  }

  #readText(path: string): Promise<string | undefined> {
    return readFile(join(this.#root, path), 'utf8').catch(() => undefined);
  }

  #exists(path: string): Promise<boolean> {
    return access(join(this.#root, path)).then(
      () => true,
      () => false,
    );
  }
}

/** A line of proc_pid_mountinfo(5). */
function parseMount(
  line: string,
): { readonly device: string; readonly point: string; readonly source: string } | undefined {
  const [before = '', after = ''] = line.split(' - ');
  const [, , device, , point] = before.split(' ');
  const source = after.split(' ')[1];
  return device === undefined || point === undefined || source === undefined ? undefined : { device, point, source };
}

/** Of what `ip -j link show` prints: the permanent MAC by name, where it is not the one in use. */
function parseIpLinks(text: string): ReadonlyMap<string, string> {
  try {
    const links = JSON.parse(text) as readonly { readonly ifname?: unknown; readonly permaddr?: unknown }[];
    return new Map(
      links.flatMap(({ ifname, permaddr }) =>
        typeof ifname === 'string' && typeof permaddr === 'string' ? [[ifname, permaddr] as const] : [],
      ),
    );
  } catch {
    return new Map();
  }
}
