import type { DomainLimits } from '../../domain/vm.js';
import type { XlListRow } from '../../domain/xen/xl-list.js';
import type { Xenstore } from './xenstore.js';

/** A domain as the host lists it; `flags` is `undefined` where the source does not tell them. */
export interface ListedDomain extends Omit<XlListRow, 'flags'> {
  readonly flags: string | undefined;
  readonly isAskedToStop: boolean;
}

/** Domains come and go with `/vm`, before and after Xen's own events: a half-built one is seen from its first moment. */
const HOST_PATHS = ['@introduceDomain', '@releaseDomain', '/vm'] as const;
/** Whatever else a guest or its devices write is of no interest. */
const DOMAIN_PATHS = ['name', 'memory/target', 'control/shutdown'] as const;

/** The domains of the host as xenstore has them. */
export class XenstoreDomains {
  readonly #store: Xenstore;
  readonly #watched = new Set<number>();
  #isWatching = false;

  constructor(store: Xenstore) {
    this.#store = store;
  }

  watch(): void {
    this.#isWatching = true;
    for (const path of HOST_PATHS) this.#store.watch(path);
  }

  /** Ends the watch and the connection. */
  close(): void {
    this.#isWatching = false;
    this.#watched.clear();
    this.#store.close();
  }

  /** Without Domain-0, and those that came or went in the meantime. @throws {AppError} `unavailable` */
  async list(): Promise<readonly ListedDomain[]> {
    const names = (await this.#store.directory('/local/domain')) ?? [];
    const domids = names.map(Number).filter((domid) => Number.isInteger(domid) && domid !== 0);
    if (this.#isWatching) this.#watchDomains(domids);
    const domains = await Promise.all(domids.map((domid) => this.#read(domid)));
    return domains.filter((domain) => domain !== undefined);
  }

  #watchDomains(domids: readonly number[]): void {
    const present = new Set(domids);
    for (const domid of domids) {
      if (this.#watched.has(domid)) continue;
      this.#watched.add(domid);
      for (const path of DOMAIN_PATHS) this.#store.watch(`/local/domain/${domid}/${path}`);
    }
    for (const domid of [...this.#watched].filter((one) => !present.has(one))) {
      this.#watched.delete(domid);
      for (const path of DOMAIN_PATHS) this.#store.unwatch(`/local/domain/${domid}/${path}`);
    }
  }

  async #read(domid: number): Promise<ListedDomain | undefined> {
    const read = (path: string): Promise<string | undefined> => this.#store.read(`/local/domain/${domid}/${path}`);
    const [name, vmPath, targetKib, request, vcpus] = await Promise.all([
      read('name'),
      read('vm'),
      read('memory/target'),
      read('control/shutdown'),
      this.#countVcpus(domid),
    ]);
    if (name === undefined || name === '' || vmPath === undefined) return undefined;
    return {
      domid,
      name,
      uuid: vmPath.slice(vmPath.lastIndexOf('/') + 1),
      memoryMib: Math.floor((Number(targetKib) || 0) / 1024),
      vcpus,
      flags: undefined,
      isAskedToStop: request === 'poweroff' || request === 'halt' || request === 'reboot',
    };
  }

  /** What the domain was started with room for. @throws {AppError} `unavailable` */
  async limitsOf(domid: number): Promise<DomainLimits> {
    const folder = `/local/domain/${domid}`;
    const most = Number(await this.#store.read(`${folder}/memory/static-max`));
    return {
      memoryMib: Math.floor((most || 0) / 1024),
      vcpus: ((await this.#store.directory(`${folder}/cpu`)) ?? []).length,
    };
  }

  async #countVcpus(domid: number): Promise<number> {
    const folder = `/local/domain/${domid}/cpu`;
    const cpus = (await this.#store.directory(folder)) ?? [];
    const states = await Promise.all(cpus.map((cpu) => this.#store.read(`${folder}/${cpu}/availability`)));
    return states.filter((state) => state === 'online').length;
  }
}
