// The bytes of a qcow2 image as its guest sees them, as a file: qemu-storage-daemon shows them over FUSE for the time of one
// read or write.
//
// Invariants:
// - dom0's kernel sees a file, not a disk: it looks for no partitions in it and mounts nothing of it.
// - What an image is stands in the cfg. A chain of overlays in which one does not say what the next one is, is not opened.
// - While it is written, QEMU's lock keeps every other QEMU off the image, a domU's device model too.
// - A view ends with its use, with its limit, or with the agent; what is left of one in spite of that goes at the next start.
import {
  type FileHandle,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  realpath,
  rm,
  rmdir,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { AppError, invalid, messageOf, wrongState } from '../../../shared/errors.js';
import { type Exec, type ExecResult, outputOf } from '../../../shared/exec.js';
import type { DiskImage } from '../../domain/new-disk.js';
import { parseQcow2Header, QCOW2_HEAD_BYTES } from '../../domain/qcow2-header.js';
import type { RawViews, ViewAccess, ViewOptions } from '../../ports/raw-views.js';
import type { DiskUse } from './disk-use.js';

const PROGRAM = 'qemu-storage-daemon';
const OPEN_MS = 30_000;
/** Longer than the longest write, which has a limit of its own. */
const VIEW_MS = 1_800_000;
/** What was written is flushed already. */
const END_MS = 30_000;
/** Nobody makes as many on purpose. */
const MAX_CHAIN = 64;

export interface DiskViewOptions {
  readonly exec: Exec;
  readonly use: DiskUse;
  /** Absolute; made when first needed. */
  readonly workFolder: string;
}

interface Wanted {
  readonly access: ViewAccess;
  readonly limitMs: number;
}

export class DiskViews implements RawViews {
  readonly #options: DiskViewOptions;
  /** By image: the end of the view that was asked for last. */
  readonly #lastOf = new Map<string, Promise<unknown>>();

  constructor(options: DiskViewOptions) {
    this.#options = options;
  }

  async withRaw<T>(
    image: DiskImage,
    access: ViewAccess,
    signal: AbortSignal,
    use: (path: string) => Promise<T>,
    options: ViewOptions = {},
  ): Promise<T> {
    if (image.format === 'raw') return use(image.path);
    const before = this.#lastOf.get(image.path);
    const want = { access, limitMs: options.limitMs ?? VIEW_MS };
    const mine = (before ?? Promise.resolve()).then(() => this.#withView(image.path, want, signal, use));
    const end = mine.catch(() => undefined);
    this.#lastOf.set(image.path, end);
    try {
      return await mine;
    } finally {
      if (this.#lastOf.get(image.path) === end) this.#lastOf.delete(image.path);
    }
  }

  async #withView<T>(image: string, want: Wanted, signal: AbortSignal, use: (path: string) => Promise<T>): Promise<T> {
    signal.throwIfAborted();
    await refuseUnsaid(image);
    const user = want.access === 'write' ? await this.#options.use.userOf(image) : undefined;
    if (user !== undefined) throw wrongState(`The disk ${image} is in use by ${user}`, { disk: image, user });
    const folder = await this.#makeFolder();
    const path = join(folder, 'raw');
    try {
      await writeFile(path, '', { mode: 0o600 });
      return await this.#serve(image, path, want, signal, use);
    } finally {
      // A program that was killed leaves its mount behind.
      if (await isMounted(path)) await this.#unmount(path);
      await rm(folder, { recursive: true, force: true });
    }
  }

  async #serve<T>(
    image: string,
    path: string,
    { access, limitMs }: Wanted,
    signal: AbortSignal,
    use: (path: string) => Promise<T>,
  ): Promise<T> {
    const kill = new AbortController();
    const [quit, askToQuit] = makeGate();
    const [ready, sayReady] = makeGate();
    let said = '';
    const ended = this.#options.exec.run(commandOf(image, path, access), {
      timeoutMs: limitMs,
      signal: kill.signal,
      input: conversation(quit),
      // It answers once all that its arguments say is done.
      onOutput: (stream, text) => {
        if (stream === 'stdout') said += text;
        if (said.includes('"return"')) sayReady();
      },
    });
    const cut = (): void => kill.abort();
    const opening = AbortSignal.any([signal, AbortSignal.timeout(OPEN_MS)]);
    opening.addEventListener('abort', cut, { once: true });
    const early = await Promise.race([ended, ready]);
    opening.removeEventListener('abort', cut);
    if (early !== undefined) throw notShown(image, early, signal);
    try {
      return await use(path);
    } finally {
      askToQuit();
      const timer = setTimeout(cut, END_MS);
      await ended;
      clearTimeout(timer);
    }
  }

  async #makeFolder(): Promise<string> {
    const { workFolder } = this.#options;
    try {
      await mkdir(workFolder, { recursive: true, mode: 0o700 });
      return await mkdtemp(join(workFolder, 'view-'));
    } catch (error) {
      throw new AppError('unavailable', `A qcow2 image cannot be shown: ${messageOf(error)}`, {}, error);
    }
  }

  #unmount(path: string): Promise<ExecResult> {
    return this.#options.exec.run(['umount', '--lazy', path], { timeoutMs: END_MS });
  }
}

/** Of an agent that died: ends what serves views in its work folder, and takes their mounts away. */
export async function endLeftViews(exec: Exec, workFolder: string): Promise<void> {
  for (const pid of await serversOf(workFolder)) await exec.run(['kill', '-TERM', pid], { timeoutMs: END_MS });
  for (const path of await mountsBelow(workFolder)) {
    await exec.run(['umount', '--lazy', path], { timeoutMs: END_MS });
    // A folder that is not empty keeps what else is in it.
    await unlink(path).catch(() => undefined);
    await rmdir(dirname(path)).catch(() => undefined);
  }
}

function commandOf(image: string, path: string, access: ViewAccess): [string, ...string[]] {
  const file = { driver: 'file', filename: image };
  const isWritten = access === 'write';
  const disk = {
    ...{ driver: 'qcow2', 'node-name': 'disk', file, 'read-only': !isWritten },
    // Whoever has it locked may go on: what is read is as old as what was flushed.
    ...(!isWritten && { 'force-share': true }),
  };
  const view = {
    ...{ type: 'fuse', id: 'view', 'node-name': 'disk', mountpoint: path },
    ...{ writable: isWritten, 'allow-other': 'off' },
  };
  return [
    // It ends by itself, in order, when the agent dies.
    ...(['setpriv', '--pdeathsig', 'TERM', PROGRAM] as const),
    ...['--blockdev', JSON.stringify(disk), '--export', JSON.stringify(view)],
    ...['--chardev', 'stdio,id=qmp,signal=off', '--monitor', 'chardev=qmp'],
  ];
}

async function* conversation(quit: Promise<undefined>): AsyncGenerator<Uint8Array> {
  yield Buffer.from('{"execute":"qmp_capabilities"}\n');
  await quit;
  yield Buffer.from('{"execute":"quit"}\n');
}

function makeGate(): [Promise<undefined>, () => void] {
  let pass = (): void => undefined;
  const passed = new Promise<undefined>((done) => (pass = () => done(undefined)));
  return [passed, () => pass()];
}

function notShown(image: string, result: ExecResult, signal: AbortSignal): AppError {
  if (signal.reason instanceof AppError) return signal.reason;
  const output = outputOf(result);
  // setpriv says so of what it cannot start.
  if (result.kind === 'missing' || /failed to execute/.test(output)) {
    return new AppError('unavailable', `The qcow2 image ${image} cannot be read: ${PROGRAM} is missing`, {
      disk: image,
      hint: 'apt-get install qemu-system-common, on the host',
    });
  }
  if (/Failed to get .*lock/.test(output)) {
    return wrongState(`The disk ${image}, or one below it, is in use by QEMU`, { disk: image, output });
  }
  return new AppError('unavailable', `The qcow2 image ${image} cannot be read: ${PROGRAM} failed`, {
    ...{ disk: image, output },
    hint: /fuse/i.test(output) ? 'modprobe fuse, on the host' : 'qemu-img check, on the host',
  });
}

/** What does not say what it is made on, QEMU would guess by its bytes, which a guest may have written. */
async function refuseUnsaid(image: string): Promise<void> {
  let path = image;
  for (let n = 0; n < MAX_CHAIN; n += 1) {
    const { backingFile, backingFormat } = parseQcow2Header(await headOf(path), path);
    if (backingFile === undefined) return;
    if (backingFormat !== 'qcow2' && backingFormat !== 'raw') {
      throw invalid(`The overlay ${path} does not say that ${backingFile} is raw or qcow2`, {
        disk: path,
        hint: `qemu-img rebase -u -f qcow2 -F raw -b ${backingFile} ${path}`,
      });
    }
    if (backingFormat === 'raw') return;
    path = resolve(dirname(await realpath(path)), backingFile);
  }
  throw invalid(`The image ${image} is made on more than ${MAX_CHAIN} others`, { disk: image });
}

async function headOf(path: string): Promise<Uint8Array> {
  let file: FileHandle | undefined;
  try {
    file = await open(path, 'r');
    const { buffer, bytesRead } = await file.read(Buffer.alloc(QCOW2_HEAD_BYTES), 0, QCOW2_HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } catch (error) {
    throw new AppError('unavailable', `${path}: ${messageOf(error)}`, { disk: path }, error);
  } finally {
    await file?.close();
  }
}

async function serversOf(workFolder: string): Promise<readonly string[]> {
  const pids = (await readdir('/proc').catch(() => [])).filter((name) => /^\d+$/.test(name));
  const found = await Promise.all(
    pids.map(async (pid) => {
      const argv = (await readFile(join('/proc', pid, 'cmdline'), 'utf8').catch(() => '')).split('\0');
      const isOurs = argv.includes(PROGRAM) && argv.some((each) => each.includes(`"mountpoint":"${workFolder}/`));
      return isOurs ? [pid] : [];
    }),
  );
  return found.flat();
}

async function isMounted(path: string): Promise<boolean> {
  return (await mountsBelow(dirname(path))).includes(path);
}

async function mountsBelow(folder: string): Promise<readonly string[]> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8').catch(() => '')).split('\n');
  const places = lines.map((line) => unescaped(line.split(' ')[4] ?? ''));
  return places.filter((path) => path.startsWith(`${folder}/`));
}

/** As proc(5) writes blanks: "\040". */
function unescaped(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}
