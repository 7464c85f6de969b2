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

type KnownFile =
  | { readonly kind: 'parsed'; readonly path: string; readonly cfg: XlCfg }
  | { readonly kind: 'broken'; readonly path: string; readonly problem: string };

interface Gathered {
  readonly files: readonly KnownFile[];
  readonly domains: readonly Domain[];
  /** The toolstack does not answer: why. The domains are then those that it told of last. */
  readonly problem: string | undefined;
  /** cfg paths; `undefined`: not told. */
  readonly started: ReadonlySet<string> | undefined;
}

const NO_ADDRESSES: ReadonlyMap<number, Ipv4> = new Map();

/** What there is on this host: cfg files, domains, guests. */
export class Observer {
  readonly #toolstack: Toolstack;
  readonly #cfgFolder: Pick<CfgFolder, 'survey'>;
  readonly #guestDisk: Pick<GuestDisk, 'read'>;
  readonly #autostart: Pick<Autostart, 'list'> | undefined;
  #lastDomains: readonly Domain[] = [];
  /** By path: every order has all files read, and hardly ever does one have another text than before. */
  #parsed: ReadonlyMap<string, XlCfg> = new Map();
  /** The gathering under way; never rejected. */
  #present: Promise<unknown> = Promise.resolve();
  /** The one after it. */
  #next: Promise<Gathered> | undefined;

  /** @param autostart `undefined`: what the host starts when it boots is not told */
  constructor(
    toolstack: Toolstack,
    cfgFolder: Pick<CfgFolder, 'survey'>,
    guestDisk: Pick<GuestDisk, 'read'>,
    autostart?: Pick<Autostart, 'list'>,
  ) {
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
    const gathered = await this.#gather();
    return describe(gathered, await Promise.all(gathered.files.map((file) => this.#readGuest(file))));
  }

  /** Of the guests only its is read. @throws {AppError} as {@link observe} */
  async find(key: string): Promise<ObservedVm | undefined> {
    const gathered = await this.#gather();
    const facts = gathered.files.map(async (file) => (file.path === key ? this.#readGuest(file) : withoutGuest(file)));
    return describe(gathered, await Promise.all(facts)).find((vm) => vm.key === key);
  }

  /** Many orders at a time share one: what has not begun is as new as what each would gather by itself. */
  #gather(): Promise<Gathered> {
    this.#next ??= this.#present.then(() => {
      this.#next = undefined;
      const gathered = this.#gatherNow();
      this.#present = gathered.catch(() => undefined);
      return gathered;
    });
    return this.#next;
  }

  async #gatherNow(): Promise<Gathered> {
    const [files, problem, started] = await Promise.all([
      this.#cfgFolder.survey(),
      this.#listDomains(),
      this.#autostart?.list(),
    ]);
    const parsed = new Map<string, XlCfg>();
    const known = files.map((file) => this.#parse(file, parsed));
    this.#parsed = parsed;
    return { files: known, domains: this.#lastDomains, problem, started };
  }

  /** @returns why they are not known, if so */
  async #listDomains(): Promise<string | undefined> {
    try {
      this.#lastDomains = await this.#toolstack.listDomains();
      return undefined;
    } catch (error) {
      const { code, message } = toAppError(error);
      if (code !== 'unavailable') throw error;
      return `the toolstack does not answer: ${message}`;
    }
  }

  /** @param parsed gets what is to be known the next time */
  #parse(file: CfgFile, parsed: Map<string, XlCfg>): KnownFile {
    const { path } = file;
    if (file.kind === 'unreadable') return { kind: 'broken', path, problem: file.problem };
    try {
      const last = this.#parsed.get(path);
      const cfg = last?.text === file.text ? last : parse(file.text);
      parsed.set(path, cfg);
      return { kind: 'parsed', path, cfg };
    } catch (error) {
      return { kind: 'broken', path, problem: problemOf(path, error) };
    }
  }

  async #readGuest(file: KnownFile): Promise<CfgFact> {
    if (file.kind === 'broken') return file;
    const { path, cfg } = file;
    // A guest that cannot be read is no problem of the cfg: its address is not known, that is all.
    const network = await this.#guestDisk.read({ name: cfgName(cfg) ?? '', cfgPath: path, cfg }).catch(() => undefined);
    return { ...file, addresses: network?.addresses ?? NO_ADDRESSES, hostKeys: network?.hostKeys };
  }
}

function withoutGuest(file: KnownFile): CfgFact {
  return file.kind === 'broken' ? file : { ...file, addresses: NO_ADDRESSES };
}

function describe({ domains, problem, started }: Gathered, facts: readonly CfgFact[]): readonly ObservedVm[] {
  const vms = problem === undefined ? describeVms(facts, domains) : describeUnknown(facts, domains, problem);
  if (started === undefined) return vms;
  return vms.map((vm) => ({ ...vm, isAutostarted: vm.cfgPath !== undefined && started.has(vm.cfgPath) }));
}

/** Those without a cfg are remembered: they may run on. */
function describeUnknown(
  facts: readonly CfgFact[],
  domains: readonly Domain[],
  problem: string,
): readonly ObservedVm[] {
  const forgotten = domains.map((domain) => ({ ...domain, state: 'unknown' }) as const);
  return describeVms(facts, forgotten).map((vm) => ({ ...vm, state: 'unknown', problem: vm.problem ?? problem }));
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
