// The programs of e2fsprogs. debugfs exits 0 whatever happens: what it was asked for is read back by whoever asked.
import { readFile, stat, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, invalid, wrongState } from '../../../shared/errors.js';
import { type Exec, type ExecResult, outputOf } from '../../../shared/exec.js';
import type { DiskImage } from '../../domain/new-disk.js';
import {
  type BlockRange,
  dumpCommand,
  listCommand,
  type ListedEntry,
  parseLinkTargets,
  parseListings,
  parseUndoRanges,
  statCommand,
} from '../../domain/guest/debugfs-text.js';
import { withPieceDevice } from './piece-device.js';

/** A few folders and files: milliseconds, seconds on a busy disk. */
const READ_MS = 30_000;
/** All of a file system's metadata, from a slow disk. */
const CHECK_MS = 110_000;
/** Tables of inodes are written for all that is new, and some that is old is moved. */
const GROW_MS = 600_000;
/** Where the undo file says how large its blocks are: a 32-bit number, low byte first. */
const UNDO_BLOCK_SIZE_AT = 32;

/** A file system, as the whole of a disk or a piece of it. */
export interface FsImage {
  /** A file or block device. */
  readonly disk: string;
  /** Bytes from the beginning of the disk. */
  readonly at: number;
  /** Of a view: what it shows. */
  readonly image?: DiskImage;
}

export class E2fsTools {
  readonly #exec: Exec;

  constructor(exec: Exec) {
    this.#exec = exec;
  }

  /** @param work a folder for the text of the commands */
  async list(image: FsImage, folders: readonly string[], work: string, signal: AbortSignal): Promise<ListedEntry[]> {
    const result = await this.#read(image, folders.map(listCommand), work, signal);
    return [...parseListings(result.stdout.toString('latin1'))];
  }

  /** @returns the text of each file, one character a byte, in the order asked; `undefined` if it cannot be read */
  async readFiles(
    image: FsImage,
    paths: readonly string[],
    work: string,
    signal: AbortSignal,
  ): Promise<readonly (string | undefined)[]> {
    if (paths.length === 0) return [];
    const outputs = paths.map((_, n) => join(work, `file-${n}`));
    const commands = paths.map((path, n) => dumpCommand(path, outputs[n] ?? ''));
    await this.#read(image, commands, work, signal);
    return Promise.all(outputs.map((path) => readFile(path, 'latin1').catch(() => undefined)));
  }

  async readLinks(
    image: FsImage,
    paths: readonly string[],
    work: string,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, string>> {
    if (paths.length === 0) return new Map();
    const result = await this.#read(image, paths.map(statCommand), work, signal);
    return parseLinkTargets(result.stdout.toString('latin1'));
  }

  async hasFolder(image: FsImage, path: string, signal: AbortSignal): Promise<boolean> {
    const result = await this.#run(['debugfs', '-c', '-R', statCommand(path), nameOf(image)], READ_MS, signal);
    return /^Inode: \d+ +Type: directory/m.test(result.stdout.toString('latin1'));
  }

  /** Replays the journal, and repairs what can be repaired without asking. @throws {AppError} `wrong_state` */
  async repair(image: FsImage, signal: AbortSignal): Promise<void> {
    return this.#repair(image, ['e2fsck', '-p', nameOf(image)], signal);
  }

  /**
   * Makes the file system longer, on the disk itself: a death in the middle leaves one that only e2fsck understands.
   *
   * @param sizeBytes as long as its place, or shorter
   * @throws {AppError} `wrong_state` if it is damaged, or is not sound afterwards
   */
  async grow(image: FsImage, sizeBytes: number, signal: AbortSignal): Promise<void> {
    // resize2fs wants to see that it was looked at.
    await this.#repair(image, ['e2fsck', '-fp', nameOf(image)], signal);
    const found = await stat(image.disk);
    if (found.isBlockDevice()) await this.#resize(nameOf(image), sizeBytes, signal);
    else await this.#resizeInFile(image, sizeBytes, signal);
    // What is less than a block, resize2fs takes off a file.
    if (found.isFile()) await truncate(image.disk, found.size);
    await this.verify(image, image.disk, signal);
  }

  /** resize2fs cuts a file off at the size of its file system, wherever that begins. */
  async #resizeInFile({ disk, at }: FsImage, sizeBytes: number, signal: AbortSignal): Promise<void> {
    return withPieceDevice(this.#exec, { disk, at, sizeBytes }, signal, (device) =>
      this.#resize(device, sizeBytes, signal),
    );
  }

  async #resize(name: string, sizeBytes: number, signal: AbortSignal): Promise<void> {
    const result = await this.#run(['resize2fs', name, `${Math.floor(sizeBytes / 512)}s`], GROW_MS, signal);
    if (result.kind !== 'ok') throw failed('resize2fs', result);
  }

  async #repair(image: FsImage, command: readonly [string, ...string[]], signal: AbortSignal): Promise<void> {
    const result = await this.#run(command, CHECK_MS, signal);
    const code = result.kind === 'failed' ? (result.exitCode ?? 255) : 0;
    if (code < 4) return;
    const isView = image.image?.format === 'qcow2';
    throw wrongState(`The file system of ${image.image?.path ?? image.disk} is damaged`, {
      hint: isView
        ? 'let its guest repair it at its next boot, after a copy was made'
        : `e2fsck -f '${nameOf(image)}' (it asks before it repairs), after a copy was made`,
      output: allOutputOf(result),
    });
  }

  /** Changes nothing. @throws {AppError} `wrong_state` if it is not clean */
  async verify(image: FsImage, name: string, signal: AbortSignal): Promise<void> {
    const result = await this.#run(['e2fsck', '-fn', nameOf(image)], CHECK_MS, signal);
    if (result.kind === 'ok') return;
    throw wrongState(`The file system of ${name} does not pass e2fsck`, {
      hint: `e2fsck -f ${name}, after a copy was made`,
      output: allOutputOf(result),
    });
  }

  /** A sparse file with all of a file system's metadata and none of its data. @throws {AppError} `unavailable` (no room) */
  async copyMetadata({ disk, at }: FsImage, to: string, signal: AbortSignal): Promise<void> {
    const offset = at === 0 ? [] : ['-o', String(at)];
    const result = await this.#run(['e2image', '-r', ...offset, disk, to], CHECK_MS, signal);
    if (result.kind === 'ok') return;
    throw new AppError('unavailable', `The metadata of ${disk} cannot be copied to ${to}`, {
      hint: 'is there room in the state folder of the agent?',
      output: outputOf(result),
    });
  }

  /** @returns what it changed, in bytes from the beginning of the file system */
  async edit(
    metadata: string,
    commands: readonly string[],
    work: string,
    signal: AbortSignal,
  ): Promise<readonly { readonly at: number; readonly sizeBytes: number }[]> {
    const undo = join(work, 'undo');
    const script = await scriptOf(commands, work);
    const edited = await this.#run(['debugfs', '-w', '-z', undo, '-f', script, metadata], READ_MS, signal);
    if (edited.kind !== 'ok') throw failed('debugfs', edited);
    const listed = await this.#run(['e2undo', '-n', '-v', undo, metadata], READ_MS, signal);
    if (listed.kind !== 'ok') throw failed('e2undo', listed);
    const blockBytes = (await readFile(undo)).readUInt32LE(UNDO_BLOCK_SIZE_AT);
    const ranges: readonly BlockRange[] = parseUndoRanges(`${listed.stdout.toString()}\n${listed.stderr}`);
    return ranges.map(({ block, sizeBytes }) => ({ at: block * blockBytes, sizeBytes }));
  }

  // Not even the bitmaps are read (-c), so that a guest that is writing them does not matter.
  async #read(image: FsImage, commands: readonly string[], work: string, signal: AbortSignal): Promise<ExecResult> {
    const script = await scriptOf(commands, work);
    const result = await this.#run(['debugfs', '-c', '-f', script, nameOf(image)], READ_MS, signal);
    if (result.kind === 'ok') return result;
    throw failed('debugfs', result);
  }

  async #run(argv: readonly [string, ...string[]], timeoutMs: number, signal: AbortSignal): Promise<ExecResult> {
    const result = await this.#exec.run(argv, { timeoutMs, signal });
    const [program] = argv;
    switch (result.kind) {
      case 'missing':
        throw new AppError('unavailable', `${program} cannot be run: ${result.stderr}`, {
          hint: 'apt-get install e2fsprogs',
        });
      case 'timeout':
        throw new AppError('timeout', `${program} did not end in ${timeoutMs / 1000} s`, { command: argv.join(' ') });
      case 'aborted':
        throw abortError(signal, program);
      default:
        return result;
    }
  }
}

/** As the programs of e2fsprogs take it, all but e2image. */
function nameOf({ disk, at }: FsImage): string {
  return at === 0 ? disk : `${disk}?offset=${at}`;
}

/** e2fsck says what it finds on its output, and what it thinks of that on stderr. */
function allOutputOf({ stdout, stderr }: ExecResult): string {
  return `${stdout.toString().trim()}\n${stderr.trim()}`.slice(-2000);
}

function abortError(signal: AbortSignal, program: string): AppError {
  if (signal.reason instanceof AppError) return signal.reason;
  return new AppError('unavailable', `${program} was cut short`, {}, signal.reason);
}

function failed(program: string, result: ExecResult): AppError {
  return wrongState(`${program} failed`, { command: result.argv.join(' '), output: outputOf(result) });
}

async function scriptOf(commands: readonly string[], work: string): Promise<string> {
  // debugfs splits at blanks and knows no escape for them outside of quotes: the folder is ours, so it has none.
  if (/["\s]/.test(work)) throw invalid(`The state folder ${work} has blanks or quotes in its path`, { path: work });
  const path = join(work, 'commands');
  await writeFile(path, `${commands.join('\n')}\n`, 'latin1');
  return path;
}
