// Invariants:
// - A key opens the door of one migration, for one domain, once: who goes through renames it away.
// - When it is closed nobody goes through any more, and whoever went through before is done.
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, messageOf, wrongState } from '../../../shared/errors.js';
import type { AuthorizedKeys } from '../../ports/authorized-keys.js';
import { endAndWait, isAlive } from './process-end.js';

const MARK = 'domherd-migration-';
/** For the receiver to see that its line was cut, and to destroy what it had. */
const LEAVE_MS = 60_000;

export interface DoorPlaces {
  /** Absolute; made when needed. */
  readonly folder: string;
  readonly keys: AuthorizedKeys;
  /** What receives a domain: a command by its words. */
  readonly receive: readonly string[];
  readonly proc: string;
}

/** Lets another host's ssh start one program on this one. */
export class MigrationDoor {
  readonly #places: DoorPlaces;

  constructor(places: DoorPlaces) {
    this.#places = places;
  }

  /** @param publicKey in the form of authorized_keys @throws {AppError} `wrong_state`, `unavailable` */
  async open(id: string, publicKey: string): Promise<void> {
    const folder = this.#folderOf(id);
    if (!/^[\w./-]+$/.test(folder)) throw wrongState(`${folder} cannot stand in authorized_keys`);
    const [type = '', key = ''] = publicKey.split(' ');
    if (!/^[\w-]+$/.test(type) || !/^[\w+/=]+$/.test(key)) throw wrongState('The other host has no key');
    await mkdir(folder, { recursive: true, mode: 0o700 });
    await writeFile(join(folder, 'enter'), this.#script(folder), { mode: 0o700 });
    await writeFile(join(folder, 'open'), '');
    const line = `restrict,command="/bin/sh ${join(folder, 'enter')}" ${type} ${key} ${MARK}${id}`;
    await this.#places.keys.edit((lines) => [...lines.filter((one) => !one.endsWith(` ${MARK}${id}`)), line]);
  }

  /** Idempotent. @throws {AppError} `unavailable` if whoever is inside cannot be got out */
  async close(id: string): Promise<void> {
    const folder = this.#folderOf(id);
    await this.#places.keys.edit((lines) => lines.filter((line) => !line.endsWith(` ${MARK}${id}`)));
    const isShut = await rename(join(folder, 'open'), join(folder, 'shut')).then(
      () => true,
      (error: unknown) => {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false;
        throw new AppError('unavailable', `${folder} cannot be written: ${messageOf(error)}`);
      },
    );
    if (!isShut) await this.#awaitInside(folder);
    await rm(folder, { recursive: true, force: true });
  }

  /** All keys go; who is inside stays. */
  async withdrawAll(): Promise<void> {
    await this.#places.keys.edit((lines) => lines.filter((line) => !line.includes(` ${MARK}`)));
  }

  async #awaitInside(folder: string): Promise<void> {
    // Gone: it was closed before.
    const names = await readdir(folder).catch(() => []);
    const inside = names.flatMap((name) => /^entered\.(\d+)$/.exec(name)?.[1] ?? []).map(Number);
    const is = (argv: readonly string[]): boolean =>
      argv.includes('migrate-receive') || argv.some((word) => word.startsWith(`${folder}/`));
    for (const pid of inside) {
      const process = { proc: this.#places.proc, pid, is };
      if (!(await isAlive(process))) continue;
      if (await endAndWait(process, LEAVE_MS)) continue;
      throw new AppError('unavailable', `Process ${pid}, which receives a domain, does not end`);
    }
  }

  // $$ stays the same through exec.
  #script(folder: string): string {
    return `#!/bin/sh
# Lets one domain in, once: ssh's key of the migration starts this.
case "$SSH_ORIGINAL_COMMAND" in
true) exit 0 ;;
xl*' migrate-receive'*) ;;
*) exit 1 ;;
esac
mv ${join(folder, 'open')} ${folder}/entered.$$ || exit 1
exec ${this.#places.receive.join(' ')}
`;
  }

  #folderOf(id: string): string {
    return join(this.#places.folder, id);
  }
}
