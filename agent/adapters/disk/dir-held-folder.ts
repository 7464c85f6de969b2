// Layout:
//   held/3/note.json        where each thing of one boot was, and why it is held
//   held/3/0-domU.cfg       the thing itself: a link, a cfg file, a saved state
//
// Invariants:
// - The note is durable before the first thing moves: what is held can be put back.
// - Between two file systems a copy is whole and synced before its source goes. A crash leaves two, never none.
// - Nothing is overwritten: things are put back by link(2) and symlink(2), which refuse what is there.
import * as nodeFs from 'node:fs';
import { basename, dirname, join } from 'node:path';
import * as v from 'valibot';
import { AppError, messageOf } from '../../../shared/errors.js';
import type { Hold } from '../../domain/boot-plan.js';
import type { HeldFolder, HeldItem, Release } from '../../ports/held-folder.js';
import { errnoOf, fileError } from './atomic-file.js';
import { removeQuietly, syncPath, unlessGone, writeNew, type BootFs, type Ownership } from './boot-fs.js';

const NOTE = 'note.json';
const MAX_COMPARED = 1024 * 1024;

const Note = v.array(
  v.object({ kind: v.picklist(['autostart', 'saved state']), path: v.string(), reason: v.string(), name: v.string() }),
);

type Noted = v.InferOutput<typeof Note>[number];

export class DirHeldFolder implements HeldFolder {
  readonly #folder: string;
  readonly #fs: BootFs;

  /** @param folder absolute; made when first needed, readable by its owner only */
  constructor(folder: string, fs: BootFs = nodeFs) {
    this.#folder = folder;
    this.#fs = fs;
  }

  hold(items: readonly Hold[]): readonly HeldItem[] {
    const present = items.filter(({ path }) => this.#lstat(path) !== undefined);
    if (present.length === 0) return [];
    try {
      const batch = this.#newBatch(present.map((item, n) => ({ ...item, name: `${n}-${basename(item.path)}` })));
      const held = present.map((item, n) => ({ ...item, heldAt: join(batch, `${n}-${basename(item.path)}`) }));
      for (const { path, heldAt } of held) this.#move(path, heldAt);
      this.#syncFolders([batch, ...items.map(({ path }) => dirname(path))]);
      return held;
    } catch (error) {
      const hint = 'nothing may be started until this works: make room, or move the entries away by hand';
      const { message, details } = fileError(`Entries cannot be held back in ${this.#folder}`, error);
      throw new AppError('unavailable', message, { ...details, hint }, error);
    }
  }

  releaseAll(): readonly Release[] {
    try {
      // The newest first: it is what the user had last.
      const batches = this.#batches().toReversed();
      return batches.flatMap((batch) => this.#releaseBatch(join(this.#folder, batch)));
    } catch (error) {
      throw fileError(`What is held in ${this.#folder} cannot be released`, error);
    }
  }

  #newBatch(notes: readonly Noted[]): string {
    this.#fs.mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    const last = Number(this.#batches().at(-1) ?? 0);
    const batch = join(this.#folder, `${last + 1}`);
    this.#fs.mkdirSync(batch, { mode: 0o700 });
    const note = join(batch, NOTE);
    writeNew(this.#fs, note, Buffer.from(`${JSON.stringify(notes, null, 2)}\n`), ownedByUs(0o600));
    for (const path of [note, batch, this.#folder]) syncPath(this.#fs, path);
    return batch;
  }

  #batches(): readonly string[] {
    const names = unlessGone(() => this.#fs.readdirSync(this.#folder)) ?? [];
    return names.filter((name) => /^\d+$/.test(name)).sort((a, b) => Number(a) - Number(b));
  }

  #move(from: string, to: string): void {
    try {
      this.#fs.renameSync(from, to);
    } catch (error) {
      if (errnoOf(error) !== 'EXDEV') throw error;
      this.#copy(from, to);
      this.#fs.unlinkSync(from);
    }
  }

  /** A whole and durable copy, or nothing. @throws the system's error, EEXIST if there is something */
  #copy(from: string, to: string): void {
    const stat = this.#fs.lstatSync(from);
    if (stat.isSymbolicLink()) return this.#fs.symlinkSync(this.#fs.readlinkSync(from), to);
    const temporary = join(dirname(to), `.${basename(to)}.held.tmp`);
    // Of a copy that a crash cut short.
    removeQuietly(this.#fs, temporary);
    try {
      this.#fs.copyFileSync(from, temporary, nodeFs.constants.COPYFILE_EXCL);
      const file = this.#fs.openSync(temporary, 'r+');
      try {
        this.#fs.fchownSync(file, stat.uid, stat.gid);
        this.#fs.fchmodSync(file, stat.mode & 0o7777);
        this.#fs.fsyncSync(file);
      } finally {
        this.#fs.closeSync(file);
      }
      this.#fs.utimesSync(temporary, stat.atime, stat.mtime);
      this.#fs.linkSync(temporary, to);
      syncPath(this.#fs, dirname(to));
    } finally {
      removeQuietly(this.#fs, temporary);
    }
  }

  #releaseBatch(batch: string): readonly Release[] {
    const notes = this.#readNote(batch);
    if (notes === undefined) {
      const reason = `${NOTE} does not tell where it was: put it back by hand`;
      return [{ kind: 'kept', path: batch, heldAt: batch, reason }];
    }
    const answers = notes.flatMap((note) => this.#putBack(note, join(batch, note.name)));
    this.#syncFolders(answers.map(({ path }) => dirname(path)));
    const kept = new Set(answers.filter(({ kind }) => kind === 'kept').map(({ path }) => path));
    for (const { name, path } of notes) if (!kept.has(path)) removeQuietly(this.#fs, join(batch, name));
    if (kept.size === 0) this.#removeBatch(batch);
    return answers;
  }

  /** `undefined` if it is damaged. */
  #readNote(batch: string): readonly Noted[] | undefined {
    const names = unlessGone(() => this.#fs.readdirSync(batch)) ?? [];
    // Alone, it may be half a note: nothing moved before it was whole.
    if (names.every((name) => name === NOTE)) return [];
    try {
      return v.parse(Note, JSON.parse(this.#fs.readFileSync(join(batch, NOTE), 'utf8')));
    } catch {
      return undefined;
    }
  }

  #putBack({ path }: Noted, heldAt: string): readonly Release[] {
    if (this.#lstat(heldAt) === undefined) return [];
    try {
      this.#fs.mkdirSync(dirname(path), { recursive: true });
      this.#copyBack(heldAt, path);
      return [{ kind: 'released', path }];
    } catch (error) {
      const isTaken = errnoOf(error) === 'EEXIST';
      if (isTaken && this.#isSame(heldAt, path)) return [{ kind: 'released', path }];
      return [{ kind: 'kept', path, heldAt, reason: isTaken ? 'something else is there' : messageOf(error) }];
    }
  }

  #copyBack(from: string, to: string): void {
    if (this.#fs.lstatSync(from).isSymbolicLink()) return this.#fs.symlinkSync(this.#fs.readlinkSync(from), to);
    try {
      this.#fs.linkSync(from, to);
    } catch (error) {
      if (errnoOf(error) !== 'EXDEV') throw error;
      this.#copy(from, to);
    }
  }

  /** What a crash between two steps leaves: the thing is at both places. */
  #isSame(a: string, b: string): boolean {
    const [one, other] = [this.#fs.lstatSync(a), this.#fs.lstatSync(b)];
    if (one.isSymbolicLink() && other.isSymbolicLink()) {
      return this.#fs.readlinkSync(a) === this.#fs.readlinkSync(b);
    }
    if (one.dev === other.dev && one.ino === other.ino) return true;
    if (!one.isFile() || !other.isFile() || one.size !== other.size) return false;
    // A saved state is as large as a domU's memory: its time must do.
    if (one.size > MAX_COMPARED) return Math.abs(one.mtimeMs - other.mtimeMs) < 1;
    return this.#fs.readFileSync(a, 'latin1') === this.#fs.readFileSync(b, 'latin1');
  }

  #removeBatch(batch: string): void {
    // A crash may have come before the note.
    unlessGone(() => this.#fs.unlinkSync(join(batch, NOTE)));
    try {
      this.#fs.rmdirSync(batch);
    } catch (error) {
      // Somebody put something of their own there.
      if (errnoOf(error) !== 'ENOTEMPTY') throw error;
    }
    syncPath(this.#fs, this.#folder);
  }

  #syncFolders(folders: readonly string[]): void {
    for (const folder of new Set(folders)) syncPath(this.#fs, folder);
  }

  #lstat(path: string): nodeFs.Stats | undefined {
    return unlessGone(() => this.#fs.lstatSync(path));
  }
}

function ownedByUs(mode: number): Ownership {
  return { mode, uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
}
