import { mkdir, readFile, realpath, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuthorizedKeys } from '../../ports/authorized-keys.js';
import { unlessMissing, writeFileAtomically } from './atomic-file.js';

/** `authorized_keys` in a folder like /root/.ssh; bytes stay, in any encoding. */
export class RootAuthorizedKeys implements AuthorizedKeys {
  readonly #folder: string;
  #turn: Promise<unknown> = Promise.resolve();

  /** @param folder absolute; made if it is missing */
  constructor(folder: string) {
    this.#folder = folder;
  }

  edit(change: (lines: readonly string[]) => readonly string[]): Promise<void> {
    const edited = this.#turn.then(() => this.#edit(change));
    this.#turn = edited.catch(() => undefined);
    return edited;
  }

  async #edit(change: (lines: readonly string[]) => readonly string[]): Promise<void> {
    const link = join(this.#folder, 'authorized_keys');
    // Some have it as a link to a file elsewhere.
    const path = (await unlessMissing(realpath(link))) ?? link;
    const before = (await unlessMissing(readFile(path, 'latin1'))) ?? '';
    const lines = before
      .replace(/\n$/, '')
      .split('\n')
      .slice(before === '' ? 1 : 0);
    const after = change(lines);
    if (after.join('\n') === lines.join('\n') && after.length === lines.length) return;
    await mkdir(this.#folder, { recursive: true, mode: 0o700 });
    const now = await unlessMissing(stat(path));
    const ownership = now === undefined ? { mode: 0o600 } : { mode: now.mode & 0o7777, uid: now.uid, gid: now.gid };
    await writeFileAtomically(path, Buffer.from(after.map((line) => `${line}\n`).join(''), 'latin1'), ownership);
  }
}
