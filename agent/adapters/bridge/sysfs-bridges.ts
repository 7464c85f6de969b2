import { readdir, readFile, readlink } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { basename, join } from 'node:path';
import { AppError, messageOf } from '../../../shared/errors.js';
import type { Bridge, HostBridges } from '../../../shared/domain/bridge.js';
import { getString, parseXlCfg } from '../../domain/xl-cfg/xl-cfg.js';
import type { Bridges } from '../../ports/bridges.js';

export interface SysfsBridgesOptions {
  /** `/sys/class/net` unless told. */
  readonly netFolder?: string | undefined;
  /** `/etc/xen/xl.conf` unless told; one that is not there sets nothing. */
  readonly xlConfPath?: string | undefined;
  /** This host's unless told. */
  readonly interfaces?: typeof networkInterfaces | undefined;
}

/** A bond of VLANs of NICs is three deep. */
const MAX_DEPTH = 4;

/** Linux bridges, as the kernel shows them in sysfs. Open vSwitch keeps its own elsewhere. */
export class SysfsBridges implements Bridges {
  readonly #netFolder: string;
  readonly #xlConfPath: string;
  readonly #interfaces: typeof networkInterfaces;

  constructor(options: SysfsBridgesOptions = {}) {
    this.#netFolder = options.netFolder ?? '/sys/class/net';
    this.#xlConfPath = options.xlConfPath ?? '/etc/xen/xl.conf';
    this.#interfaces = options.interfaces ?? networkInterfaces;
  }

  async readBridges(): Promise<HostBridges> {
    try {
      const names = (await readdir(this.#netFolder)).sort();
      const addresses = this.#addresses();
      const all = await Promise.all(names.map((name) => this.#readBridge(name, addresses.get(name) ?? [])));
      return { bridges: all.filter((bridge) => bridge !== undefined), ...(await this.#readXlConf()) };
    } catch (error) {
      throw new AppError('unavailable', `The bridges cannot be read: ${messageOf(error)}`, {}, error);
    }
  }

  async #readBridge(name: string, addresses: readonly string[]): Promise<Bridge | undefined> {
    const members = await listOrNone(join(this.#netFolder, name, 'brif'));
    if (members === undefined) return undefined;
    members.sort();
    const leadOut = await Promise.all(members.map((member) => this.#leadsOut(member)));
    return {
      name,
      members,
      uplinks: members.filter((_, n) => leadOut[n]),
      addresses,
      isUp: (await textOrNone(join(this.#netFolder, name, 'operstate')))?.trim() !== 'down',
    };
  }

  /** A NIC, or what stands on one: a bond, a VLAN. The back end of a domU's vif is a device, too. */
  async #leadsOut(name: string, depth = 0): Promise<boolean> {
    const folder = join(this.#netFolder, name);
    const bus = await linkOrNone(join(folder, 'device', 'subsystem'));
    if (bus !== undefined) return basename(bus) !== 'xen-backend';
    if (depth === MAX_DEPTH) return false;
    const lower = ((await listOrNone(folder)) ?? []).flatMap((entry) => /^lower_(.+)$/.exec(entry)?.[1] ?? []);
    return (await Promise.all(lower.map((each) => this.#leadsOut(each, depth + 1)))).some((leads) => leads);
  }

  /** By interface; every bridge that is up has a link-local one of IPv6, which says nothing. */
  #addresses(): ReadonlyMap<string, readonly string[]> {
    const found = new Map<string, string[]>();
    for (const [label, infos] of Object.entries(this.#interfaces())) {
      // "xenbr0:1": a second address of IPv4 may have a label of its own.
      const name = label.replace(/:.*$/, '');
      const own = (infos ?? []).map(({ address, cidr }) => cidr ?? address).filter((text) => !isLinkLocal(text));
      found.set(name, [...(found.get(name) ?? []), ...own]);
    }
    return found;
  }

  async #readXlConf(): Promise<Pick<HostBridges, 'xlBridge' | 'xlScript'>> {
    const text = await textOrNone(this.#xlConfPath);
    if (text === undefined) return { xlBridge: undefined, xlScript: undefined };
    try {
      const conf = parseXlCfg(text);
      const read = (key: string): string | undefined => getString(conf, key) || undefined;
      return { xlBridge: read('vif.default.bridge'), xlScript: read('vif.default.script') };
    } catch {
      // xl itself refuses to run with such a file, and says so better.
      return { xlBridge: undefined, xlScript: undefined };
    }
  }
}

function isLinkLocal(address: string): boolean {
  return /^(fe[89ab][0-9a-f]:|169\.254\.)/i.test(address);
}

/** `undefined`: there is no such thing, or not any more. An interface may go at any moment. */
async function orNone<T>(read: Promise<T>): Promise<T | undefined> {
  try {
    return await read;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'EINVAL') return undefined;
    throw error;
  }
}

const listOrNone = (path: string): Promise<string[] | undefined> => orNone(readdir(path));
const linkOrNone = (path: string): Promise<string | undefined> => orNone(readlink(path));
const textOrNone = (path: string): Promise<string | undefined> => orNone(readFile(path, 'latin1'));
