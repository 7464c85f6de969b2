// The programs of e2fsprogs. debugfs exits 0 whatever happens: what it was asked for is read back by whoever asked.
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, invalid, wrongState } from '../../../shared/errors.js';
import { type Exec, type ExecResult, outputOf } from '../../../shared/exec.js';
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

/** A few folders and files: milliseconds, seconds on a busy disk. */
const READ_MS = 30_000;
/** All of a file system's metadata, from a slow disk. */
const CHECK_MS = 110_000;
/** Where the undo file says how large its blocks are: a 32-bit number, low byte first. */
const UNDO_BLOCK_SIZE_AT = 32;

export class E2fsTools {
  readonly #exec: Exec;

  constructor(exec: Exec) {
    this.#exec = exec;
  }

  /** @param work a folder for the text of the commands */
  async list(image: string, folders: readonly string[], work: string, signal: AbortSignal): Promise<ListedEntry[]> {
    const result = await this.#read(image, folders.map(listCommand), work, signal);
    return [...parseListings(result.stdout.toString('latin1'))];
  }

  /** @returns the text of each file, one character a byte, in the order asked; `undefined` if it cannot be read */
  async readFiles(
    image: string,
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
    image: string,
    paths: readonly string[],
    work: string,
    signal: AbortSignal,
  ): Promise<ReadonlyMap<string, string>> {
    if (paths.length === 0) return new Map();
    const result = await this.#read(image, paths.map(statCommand), work, signal);
    return parseLinkTargets(result.stdout.toString('latin1'));
  }

  /** Replays the journal, and repairs what can be repaired without asking. @throws {AppError} `wrong_state` */
  async repair(image: string, signal: AbortSignal): Promise<void> {
    const result = await this.#run(['e2fsck', '-p', image], CHECK_MS, signal);
    const code = result.kind === 'failed' ? (result.exitCode ?? 255) : 0;
    if (code < 4) return;
    throw wrongState(`The file system of ${image} is damaged`, {
      hint: `e2fsck -f ${image} (it asks before it repairs), after a copy was made`,
      output: allOutputOf(result),
    });
  }

  /** Changes nothing. @throws {AppError} `wrong_state` if it is not clean */
  async verify(image: string, name: string, signal: AbortSignal): Promise<void> {
    const result = await this.#run(['e2fsck', '-fn', image], CHECK_MS, signal);
    if (result.kind === 'ok') return;
    throw wrongState(`The file system of ${name} does not pass e2fsck`, {
      hint: `e2fsck -f ${name}, after a copy was made`,
      output: allOutputOf(result),
    });
  }

  /** A sparse file with all of a file system's metadata and none of its data. @throws {AppError} `unavailable` (no room) */
  async copyMetadata(image: string, to: string, signal: AbortSignal): Promise<void> {
    const result = await this.#run(['e2image', '-r', image, to], CHECK_MS, signal);
    if (result.kind === 'ok') return;
    throw new AppError('unavailable', `The metadata of ${image} cannot be copied to ${to}`, {
      hint: 'is there room in the state folder of the agent?',
      output: outputOf(result),
    });
  }

  /** @returns what it changed, in bytes from the beginning */
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
  async #read(image: string, commands: readonly string[], work: string, signal: AbortSignal): Promise<ExecResult> {
    const script = await scriptOf(commands, work);
    const result = await this.#run(['debugfs', '-c', '-f', script, image], READ_MS, signal);
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
