import { lstat } from 'node:fs/promises';
import type { CfgFile } from '../../ports/cfg-folder.js';
import type { Clock } from '../../ports/clock.js';

/** Longer than the grain of the times that any file system keeps: 2 s on FAT, a tick of the kernel on most. */
const SETTLED_MS = 3_000;

interface Seen {
  /** What stat(2) tells of a file, and any change of its bytes changes; but two within one grain of time. */
  readonly facts: string;
  /** When the facts were seen first. */
  readonly sinceMs: number;
  /** The file was read long enough after that: a change since then cannot have left the facts as they are. */
  readonly isSettled: boolean;
  readonly file: CfgFile;
}

/**
 * Files as they were last read: one whose facts are the same is not read again.
 *
 * That two times are apart is told by one clock, so that the one of another machine that has the disk may be wrong.
 */
export class SeenCfgs {
  readonly #clock: Clock;
  readonly #byPath = new Map<string, Seen>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * A link is always read: where it leads may change, and it does not. So is what was not to be read the last time.
   *
   * @param read gives it as it is now, `undefined` if there is none
   * @returns the same object as the last time while its bytes are the same
   */
  async look(path: string, read: () => Promise<CfgFile | undefined>): Promise<CfgFile | undefined> {
    const last = this.#byPath.get(path);
    const facts = await factsOf(path);
    const isSame = facts !== undefined && facts === last?.facts;
    if (isSame && last.isSettled) return last.file;
    const nowMs = this.#clock.nowMs();
    const found = await read();
    if (facts === undefined || found?.kind !== 'text') {
      this.#byPath.delete(path);
      return found;
    }
    const isSameText = last?.file.kind === 'text' && last.file.text === found.text;
    const file = isSameText ? last.file : found;
    const sinceMs = isSame ? last.sinceMs : nowMs;
    this.#byPath.set(path, { facts, sinceMs, isSettled: nowMs - sinceMs >= SETTLED_MS, file });
    return file;
  }

  /** Forgets all others. */
  keep(paths: readonly string[]): void {
    if (this.#byPath.size <= paths.length) return;
    const kept = new Set(paths);
    for (const path of this.#byPath.keys()) if (!kept.has(path)) this.#byPath.delete(path);
  }
}

/** `undefined`: not there, or no plain file. */
async function factsOf(path: string): Promise<string | undefined> {
  const found = await lstat(path, { bigint: true }).catch(() => undefined);
  if (!found?.isFile()) return undefined;
  // Mode and owner change the time of change as well.
  return [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(' ');
}
