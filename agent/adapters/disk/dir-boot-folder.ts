// Invariants:
// - Whatever leads to a file, it is read once, as latin1, and replaced once. A link stays a link.
// - A link that leaves the folders of Xen is reported; nothing is written through it.
// - Synchronous: a process that boots has nothing else to do, and a thousand files take half the time.
import * as nodeFs from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import { messageOf } from '../../../shared/errors.js';
import type { Exec } from '../../../shared/exec.js';
import type { AutostartEntry, BootFile, Refusal, Rewrite } from '../../domain/boot-plan.js';
import type { BootFiles, BootFolder } from '../../ports/boot-folder.js';
import type { Clock } from '../../ports/clock.js';
import { errnoOf, fileError } from './atomic-file.js';
import { unlessGone, type BootFs } from './boot-fs.js';
import { replaceFiles } from './bulk-replace.js';

/** Absolute, all of them. */
export interface BootPlaces {
  readonly xenDir: string;
  readonly autoDir: string;
  /** `undefined`: xendomains saves nothing. */
  readonly saveDir: string | undefined;
  readonly backupDir: string;
}

/** What stands in a folder under a name. */
type Found =
  | { readonly kind: 'file'; readonly path: string; readonly real: string; readonly isLink: boolean }
  | { readonly kind: 'refused'; readonly path: string; readonly problem: string; readonly text?: string };

type RefusedFile = Extract<BootFile, { kind: 'refused' }>;

const MAX_BYTES = 1024 * 1024;

export class DirBootFolder implements BootFolder {
  readonly #places: BootPlaces;
  readonly #clock: Clock;
  readonly #exec: Exec;
  readonly #fs: BootFs;
  /** Where the bytes of each file really are, by its path. */
  #realPaths: ReadonlyMap<string, string> = new Map();

  constructor(places: BootPlaces, clock: Clock, exec: Exec, fs: BootFs = nodeFs) {
    this.#places = places;
    this.#clock = clock;
    this.#exec = exec;
    this.#fs = fs;
  }

  gather(): BootFiles {
    const { xenDir, autoDir, saveDir } = this.#places;
    const roots = [xenDir, autoDir].flatMap((folder) => this.#realFolder(folder) ?? []);
    const autos = this.#list(autoDir, roots);
    const found = [...this.#list(xenDir, roots).filter(({ path }) => path.endsWith('.cfg')), ...autos];
    const pathOfReal = namesOf(found);
    this.#realPaths = new Map([...pathOfReal].map(([real, path]) => [path, real]));
    const files = [...this.#realPaths].map(([path, real]) => this.#readFile(path, real));
    const refused = found.filter((one) => one.kind === 'refused');
    return {
      files: [...files, ...refused].sort((a, b) => (a.path < b.path ? -1 : 1)),
      autostart: autos.map((entry) => autostartOf(entry, pathOfReal)),
      savedStates: saveDir === undefined ? [] : this.#listSaved(saveDir),
    };
  }

  async replaceAll(rewrites: readonly Rewrite[], deadlineMs: number): Promise<readonly Refusal[]> {
    const { backupDir, xenDir, autoDir } = this.#places;
    const folders = new Set([...this.#realPaths.values()].map((real) => dirname(real)));
    const autoFolder = this.#realFolder(autoDir);
    const jobs = rewrites.map(({ path, before, after }) => {
      const real = this.#realPaths.get(path);
      if (real === undefined) throw new Error(`${path} was not gathered`);
      // Two folders may have a file of one name.
      const backupName = dirname(real) === autoFolder ? `auto%${basename(real)}` : basename(real);
      return { path, real, before, after, backupName };
    });
    return replaceFiles(jobs, {
      fs: this.#fs,
      exec: this.#exec,
      clock: this.#clock,
      backupDir,
      folders: [...folders, xenDir, autoDir],
      deadlineMs,
    });
  }

  #realFolder(folder: string): string | undefined {
    try {
      return unlessGone(() => this.#fs.realpathSync(folder));
    } catch (error) {
      throw fileError(`${folder} cannot be read`, error);
    }
  }

  #list(folder: string, roots: readonly string[]): readonly Found[] {
    const real = this.#realFolder(folder);
    if (real === undefined) return [];
    try {
      const entries = this.#fs.readdirSync(real, { withFileTypes: true });
      // xendomains sees neither hidden files nor what is in folders.
      const visible = entries.filter((entry) => !entry.name.startsWith('.') && !entry.isDirectory());
      return visible.map((entry) => this.#find(join(folder, entry.name), join(real, entry.name), entry, roots));
    } catch (error) {
      throw fileError(`${folder} cannot be read`, error);
    }
  }

  #find(path: string, inFolder: string, entry: nodeFs.Dirent, roots: readonly string[]): Found {
    if (entry.isFile()) return { kind: 'file', path, real: inFolder, isLink: false };
    if (!entry.isSymbolicLink()) return { kind: 'refused', path, problem: 'it is not a file' };
    try {
      const real = this.#fs.realpathSync(inFolder);
      if (roots.some((root) => real.startsWith(root + sep))) return { kind: 'file', path, real, isLink: true };
      const far = this.#readFile(path, real);
      const text = far.kind === 'text' ? { text: far.text } : {};
      return { kind: 'refused', path, problem: `it is a link to ${real}, out of the folder`, ...text };
    } catch (error) {
      const isGone = errnoOf(error) === 'ENOENT';
      const problem = isGone ? 'it is a link to a file that does not exist' : messageOf(error);
      return { kind: 'refused', path, problem };
    }
  }

  #readFile(path: string, real: string): BootFile {
    const refuse = (problem: string): RefusedFile => ({ kind: 'refused', path, problem });
    try {
      const stat = this.#fs.statSync(real);
      if (!stat.isFile()) return refuse('it is not a file');
      if (stat.size > MAX_BYTES) return refuse(`it has ${stat.size} bytes, more than any cfg`);
      return { kind: 'text', path, text: this.#fs.readFileSync(real, 'latin1') };
    } catch (error) {
      return refuse(messageOf(error));
    }
  }

  #listSaved(folder: string): readonly string[] {
    try {
      const entries = unlessGone(() => this.#fs.readdirSync(folder, { withFileTypes: true })) ?? [];
      const states = entries.filter((entry) => !entry.name.startsWith('.') && !entry.isDirectory());
      return states.map(({ name }) => join(folder, name)).sort();
    } catch (error) {
      throw fileError(`${folder} cannot be read`, error);
    }
  }
}

/** The name by which each file is known: its own, if a folder shows that, else the first link to it. */
function namesOf(found: readonly Found[]): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  const files = found.filter((one) => one.kind === 'file').sort((a, b) => Number(a.isLink) - Number(b.isLink));
  for (const { real, path } of files) if (!names.has(real)) names.set(real, path);
  return names;
}

function autostartOf(entry: Found, pathOfReal: ReadonlyMap<string, string>): AutostartEntry {
  const file = entry.kind === 'file' ? pathOfReal.get(entry.real) : undefined;
  return { path: entry.path, file: file ?? entry.path };
}
