import { lstat, mkdir, readdir, readlink, symlink, unlink } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { AppError } from '../../../shared/errors.js';
import type { Autostart } from '../../ports/autostart.js';
import { errnoOf, fileError, syncFolder } from './atomic-file.js';

/** Links in a folder beside the cfg files. What somebody made there by hand counts as well; plain files are left alone. */
export class DirAutostart implements Autostart {
  readonly #folder: string;

  /** @param folder absolute; made when it is first needed */
  constructor(folder: string) {
    this.#folder = folder;
  }

  async list(): Promise<ReadonlySet<string>> {
    return new Set((await this.#links()).map(({ target }) => target));
  }

  async set(cfgPath: string, isOn: boolean): Promise<void> {
    try {
      const mine = (await this.#links()).filter(({ target }) => target === cfgPath);
      if (isOn ? mine.length > 0 : mine.length === 0) return;
      if (isOn) await this.#add(cfgPath);
      else for (const { path } of mine) await unlink(path);
      await syncFolder(this.#folder);
    } catch (error) {
      throw error instanceof AppError ? error : fileError(`${this.#folder} cannot be changed`, error);
    }
  }

  async #add(cfgPath: string): Promise<void> {
    await mkdir(this.#folder, { recursive: true });
    const path = join(this.#folder, basename(cfgPath));
    try {
      await symlink(relative(this.#folder, cfgPath), path);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      const hint = `look at it on the host: ls -l ${path}`;
      throw new AppError('already_exists', `${path} is something else already`, { path, hint }, error);
    }
  }

  async #links(): Promise<readonly { readonly path: string; readonly target: string }[]> {
    const names = await readdir(this.#folder).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw fileError(`${this.#folder} cannot be read`, error);
    });
    const found = await Promise.all(names.map((name) => this.#linkAt(join(this.#folder, name))));
    return found.filter((one) => one !== undefined);
  }

  async #linkAt(path: string): Promise<{ readonly path: string; readonly target: string } | undefined> {
    const isLink = (await lstat(path).catch(() => undefined))?.isSymbolicLink() === true;
    const to = isLink ? await readlink(path).catch(() => undefined) : undefined;
    return to === undefined ? undefined : { path, target: resolve(dirname(path), to) };
  }
}
