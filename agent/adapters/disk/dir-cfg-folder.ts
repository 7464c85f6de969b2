// Invariants:
// - A file is read and written as latin1: one character a byte, so nothing that is not meant to change does.
// - A link that leaves the folder is reported and never followed; one within it stays a link, its target is replaced.
// - The bytes before a replace are in the backup folder before the file changes.
import { watch as watchFolder } from 'node:fs';
import { link, lstat, mkdir, readdir, readFile, realpath, rename, stat, unlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { AppError, invalid, messageOf, notFound, wrongState } from '../../../shared/errors.js';
import type { CfgFile, CfgFolder, CfgText } from '../../ports/cfg-folder.js';
import type { Clock } from '../../ports/clock.js';
import { errnoOf, fileError, syncFolder, unlessMissing, writeFileAtomically } from './atomic-file.js';
import { SeenCfgs } from './seen-cfgs.js';

const MAX_BYTES = 1024 * 1024;
/** Of each file, the newest. */
const MAX_BACKUPS = 10;
/** A folder that came back or appeared is watched after this. */
const REWATCH_MS = 60_000;

/** A folder of cfg files on disk. */
export class DirCfgFolder implements CfgFolder {
  readonly path: string;
  readonly #folder: string;
  readonly #backupFolder: string;
  readonly #clock: Clock;
  readonly #seen: SeenCfgs;

  /** @param folder absolute. @param backupFolder absolute; made when first needed, readable by its owner only */
  constructor(folder: string, backupFolder: string, clock: Clock) {
    this.path = folder;
    this.#folder = folder;
    this.#backupFolder = backupFolder;
    this.#clock = clock;
    this.#seen = new SeenCfgs(clock);
  }

  async list(): Promise<readonly CfgFile[]> {
    return this.#readAll(await this.#paths(), (path) => this.#readOne(path));
  }

  async survey(): Promise<readonly CfgFile[]> {
    const paths = await this.#paths();
    this.#seen.keep(paths);
    return this.#readAll(paths, (path) => this.#seen.look(path, () => this.#readOne(path)));
  }

  async read(path: string): Promise<CfgText> {
    this.#checkInside(path);
    const file = await this.#readOne(path);
    if (file === undefined) throw notFound(`There is no file ${path}`, { path });
    if (file.kind === 'unreadable') throw wrongState(`${path} cannot be read: ${file.problem}`, { path });
    return file.text;
  }

  async replace(path: string, before: CfgText, after: CfgText): Promise<void> {
    if ((await this.read(path)) !== before) {
      throw new AppError('raced', `${path} was changed by somebody else meanwhile`, { path });
    }
    try {
      await this.#backUp(path, before);
      const target = await realpath(path);
      const { mode, uid, gid } = await stat(target);
      const owner = uid === process.getuid?.() && gid === process.getgid?.() ? {} : { uid, gid };
      await writeFileAtomically(target, Buffer.from(after, 'latin1'), { mode: mode & 0o7777, ...owner });
    } catch (error) {
      throw error instanceof AppError ? error : fileError(`${path} cannot be replaced`, error);
    }
  }

  async add(path: string, text: CfgText): Promise<void> {
    this.#checkInside(path);
    const temporary = join(dirname(path), `.${basename(path)}.new`);
    try {
      await writeFileAtomically(temporary, Buffer.from(text, 'latin1'), { mode: 0o644 });
      // Fails if there is one, where a rename would replace it.
      await link(temporary, path);
      await unlink(temporary);
      await syncFolder(dirname(path));
    } catch (error) {
      await unlink(temporary).catch(() => undefined);
      if (errnoOf(error) !== 'EEXIST') throw fileError(`${path} cannot be made`, error);
      throw new AppError('already_exists', `There is a file ${path} already`, { path });
    }
  }

  async remove(path: string, before: CfgText): Promise<void> {
    this.#checkInside(path);
    const file = await this.#readOne(path);
    if (file === undefined) return;
    if (file.kind === 'unreadable' || file.text !== before) {
      throw new AppError('raced', `${path} was changed by somebody else meanwhile`, { path });
    }
    try {
      await unlink(path);
      await syncFolder(dirname(path));
    } catch (error) {
      throw fileError(`${path} cannot be removed`, error);
    }
  }

  async move(from: string, to: string): Promise<void> {
    this.#checkInside(from);
    this.#checkInside(to);
    try {
      const [source, target] = await Promise.all([from, to].map((path) => unlessMissing(lstat(path))));
      if (source === undefined && target !== undefined) return;
      if (source === undefined) throw notFound(`There is no file ${from}`, { path: from });
      if (target !== undefined) throw new AppError('already_exists', `There is a file ${to} already`, { path: to });
      await rename(from, to);
      await syncFolder(this.#folder);
    } catch (error) {
      throw error instanceof AppError ? error : fileError(`${from} cannot be renamed`, error);
    }
  }

  watch(onChange: () => void): () => void {
    let stopWatching: (() => void) | undefined;
    let takeBack: (() => void) | undefined;
    let isStopped = false;
    const begin = (): void => {
      stopWatching = this.#watchOnce(onChange, () => {
        stopWatching?.();
        if (!isStopped) takeBack = this.#clock.schedule(REWATCH_MS, begin);
      });
    };
    begin();
    return () => {
      isStopped = true;
      stopWatching?.();
      takeBack?.();
    };
  }

  #watchOnce(onChange: () => void, onLost: () => void): () => void {
    try {
      const watcher = watchFolder(this.#folder, { persistent: false }, (_event, name) => {
        if (name === null || name.endsWith('.cfg')) onChange();
      });
      watcher.on('error', onLost);
      return () => watcher.close();
    } catch {
      // No such folder, or no watches left (fs.inotify.max_user_watches): what changes is seen at the next look all the same.
      queueMicrotask(onLost);
      return () => undefined;
    }
  }

  async #paths(): Promise<readonly string[]> {
    try {
      const names = (await unlessMissing(readdir(this.#folder))) ?? [];
      const ours = names.filter((name) => name.endsWith('.cfg') && !name.startsWith('.')).sort();
      return ours.map((name) => join(this.#folder, name));
    } catch (error) {
      throw fileError(`${this.#folder} cannot be read`, error);
    }
  }

  async #readAll(
    paths: readonly string[],
    read: (path: string) => Promise<CfgFile | undefined>,
  ): Promise<readonly CfgFile[]> {
    return (await Promise.all(paths.map(read))).filter((file) => file !== undefined);
  }

  async #readOne(path: string): Promise<CfgFile | undefined> {
    try {
      const problem = await this.#problemOf(path);
      if (problem !== undefined) return { kind: 'unreadable', path, problem };
      return { kind: 'text', path, text: await readFile(path, 'latin1') };
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      return { kind: 'unreadable', path, problem: messageOf(error) };
    }
  }

  async #problemOf(path: string): Promise<string | undefined> {
    const facts = await lstat(path);
    if (facts.isSymbolicLink()) {
      const target = await unlessMissing(realpath(path));
      if (target === undefined) return `${path} is a link to a file that does not exist`;
      if (dirname(target) !== (await realpath(this.#folder)))
        return `${path} is a link to ${target}, out of the folder`;
    }
    const { size, isFile } = await stat(path).then((found) => ({ size: found.size, isFile: found.isFile() }));
    if (!isFile) return `${path} is not a file`;
    return size > MAX_BYTES ? `${path} has ${size} bytes, more than any cfg` : undefined;
  }

  #checkInside(path: string): void {
    if (dirname(path) === this.#folder && path.endsWith('.cfg')) return;
    throw invalid(`${path} is not a cfg file of ${this.#folder}`, { path });
  }

  async #backUp(path: string, text: CfgText): Promise<void> {
    await mkdir(this.#backupFolder, { recursive: true, mode: 0o700 });
    const prefix = `${basename(path)}.`;
    // Milliseconds have 13 digits until the year 2286: sorting the names sorts the times.
    const backup = join(this.#backupFolder, `${prefix}${this.#clock.nowMs()}`);
    await writeFileAtomically(backup, Buffer.from(text, 'latin1'), { mode: 0o600 });
    const old = (await readdir(this.#backupFolder)).filter((name) => /^\d+$/.test(name.slice(prefix.length)));
    const ofFile = old.filter((name) => name.startsWith(prefix)).sort();
    await Promise.all(ofFile.slice(0, -MAX_BACKUPS).map((name) => unlink(join(this.#backupFolder, name))));
  }
}
