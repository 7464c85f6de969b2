import { toAppError } from '../../shared/errors.js';
import type { Ipv4 } from '../../shared/domain/ipv4.js';
import { describeVms, type CfgFact } from '../domain/observed-vm.js';
import type { Domain, ObservedVm } from '../domain/vm.js';
import { listVifs } from '../domain/xl-cfg/vif.js';
import type { XlCfg } from '../domain/xl-cfg/syntax.js';
import { cfgName, parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { Autostart } from '../ports/autostart.js';
import type { CfgFile, CfgFolder } from '../ports/cfg-folder.js';
import type { GuestDisk } from '../ports/guest-disk.js';
import type { Toolstack } from '../ports/toolstack.js';

type Seen =
  | { readonly kind: 'known'; readonly domains: readonly Domain[] }
  | { readonly kind: 'unknown'; readonly problem: string };

const NO_ADDRESSES: ReadonlyMap<number, Ipv4> = new Map();

/** What there is on this host: cfg files, domains, guests. */
export class Observer {
  readonly #toolstack: Toolstack;
  readonly #cfgFolder: CfgFolder;
  readonly #guestDisk: GuestDisk;
  readonly #autostart: Pick<Autostart, 'list'> | undefined;
  #lastDomains: readonly Domain[] = [];
  /** By path: every order has all files read, and hardly ever does one have another text than before. */
  #parsed: ReadonlyMap<string, XlCfg> = new Map();

  /** @param autostart `undefined`: what the host starts when it boots is not told */
  constructor(toolstack: Toolstack, cfgFolder: CfgFolder, guestDisk: GuestDisk, autostart?: Pick<Autostart, 'list'>) {
    this.#autostart = autostart;
    this.#toolstack = toolstack;
    this.#cfgFolder = cfgFolder;
    this.#guestDisk = guestDisk;
  }

  /**
   * A file or guest that cannot be read is a VM with a problem or without an address. While the toolstack does not answer,
   * every VM is `unknown`, with why as its problem: nothing is known then, which is not "nothing is there".
   *
   * @throws {AppError} `unavailable` if the folder does not answer
   */
  async observe(): Promise<readonly ObservedVm[]> {
    const [vms, started] = await Promise.all([this.#observeVms(), this.#autostart?.list()]);
    if (started === undefined) return vms;
    return vms.map((vm) => ({ ...vm, isAutostarted: vm.cfgPath !== undefined && started.has(vm.cfgPath) }));
  }

  async #observeVms(): Promise<readonly ObservedVm[]> {
    const [files, seen] = await Promise.all([this.#cfgFolder.list(), this.#listDomains()]);
    const parsed = new Map<string, XlCfg>();
    const facts = await Promise.all(files.map((file) => this.#readFile(file, parsed)));
    this.#parsed = parsed;
    if (seen.kind === 'known') return describeVms(facts, seen.domains);
    const { problem } = seen;
    // Those without a cfg are remembered: they may run on.
    const forgotten = this.#lastDomains.map((domain) => ({ ...domain, state: 'unknown' }) as const);
    return describeVms(facts, forgotten).map((vm) => ({ ...vm, state: 'unknown', problem: vm.problem ?? problem }));
  }

  async #listDomains(): Promise<Seen> {
    try {
      this.#lastDomains = await this.#toolstack.listDomains();
      return { kind: 'known', domains: this.#lastDomains };
    } catch (error) {
      const { code, message } = toAppError(error);
      if (code !== 'unavailable') throw error;
      return { kind: 'unknown', problem: `the toolstack does not answer: ${message}` };
    }
  }

  /** @throws {AppError} as {@link observe} */
  async find(key: string): Promise<ObservedVm | undefined> {
    return (await this.observe()).find((vm) => vm.key === key);
  }

  /** @param parsed gets what is to be known the next time */
  async #readFile(file: CfgFile, parsed: Map<string, XlCfg>): Promise<CfgFact> {
    const { path } = file;
    if (file.kind === 'unreadable') return { kind: 'broken', path, problem: file.problem };
    try {
      const last = this.#parsed.get(path);
      const cfg = last?.text === file.text ? last : parse(file.text);
      parsed.set(path, cfg);
      const guest = { name: cfgName(cfg) ?? '', cfgPath: path, cfg };
      // A guest that cannot be read is no problem of the cfg: its address is not known, that is all.
      const network = await this.#guestDisk.read(guest).catch(() => undefined);
      return {
        ...{ kind: 'parsed', path, cfg },
        ...{ addresses: network?.addresses ?? NO_ADDRESSES, hostKeys: network?.hostKeys },
      };
    } catch (error) {
      return { kind: 'broken', path, problem: problemOf(path, error) };
    }
  }
}

/** @throws {AppError} also for vifs that cannot be read */
function parse(text: string): XlCfg {
  const cfg = parseXlCfg(text);
  listVifs(cfg);
  return cfg;
}

/** It is all that the user is told of a file that he may have written for xm. */
function problemOf(path: string, error: unknown): string {
  const { message, details } = toAppError(error);
  return [`${path}: ${message}`, ...(details['hint'] === undefined ? [] : [details['hint']])].join('; ');
}
