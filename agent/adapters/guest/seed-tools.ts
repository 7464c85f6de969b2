// Seed disks are FAT file systems, made by mkfs.vfat and filled by mcopy: nothing is mounted.
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SEED_LABEL, type SeedFiles } from '../../domain/seed/seed-files.js';
import { AppError, wrongState } from '../../../shared/errors.js';
import { outputOf, type Exec, type ExecResult } from '../../../shared/exec.js';
import type { SeedDraft, SeedMaker } from '../../ports/seed-maker.js';

/** Room for user data of 1 MiB, twice. */
const SEED_KIB = 4096;
const TOOL_MS = 30_000;
/** Of FAT12 and FAT16, which a disk of this size has. */
const LABEL_AT = 0x2b;
const LABEL_BYTES = 11;

const NAMES = {
  metaData: 'meta-data',
  userData: 'user-data',
  vendorData: 'vendor-data',
  networkConfig: 'network-config',
} as const satisfies Record<keyof SeedFiles, string>;

const PACKAGES: Readonly<Record<string, string>> = { 'mkfs.vfat': 'dosfstools', mcopy: 'mtools' };

export class SeedTools implements SeedMaker {
  readonly #exec: Exec;
  readonly #workFolder: string;

  /** @param workFolder absolute, for files that need not outlive the process; made when first needed */
  constructor(exec: Exec, workFolder: string) {
    this.#exec = exec;
    this.#workFolder = workFolder;
  }

  async draft(files: SeedFiles, signal: AbortSignal): Promise<SeedDraft> {
    const work = await this.#makeWork();
    const remove = (): Promise<void> => rm(work, { recursive: true, force: true }).catch(() => undefined);
    try {
      const path = join(work, 'seed.img');
      await this.#make(path, files, work, signal);
      return { path, remove };
    } catch (error) {
      await remove();
      throw error;
    }
  }

  async read(path: string, signal: AbortSignal): Promise<SeedFiles | undefined> {
    if (!(await hasLabel(path))) return undefined;
    const work = await this.#makeWork();
    try {
      const text = async (name: string): Promise<string | undefined> => {
        const to = join(work, name);
        const result = await this.#run(['mcopy', '-n', '-i', path, `::${name}`, to], signal);
        return result.kind === 'ok' ? readFile(to, 'utf8') : undefined;
      };
      const [metaData, userData, vendorData] = [
        await text(NAMES.metaData),
        await text(NAMES.userData),
        await text(NAMES.vendorData),
      ];
      if (metaData === undefined || userData === undefined || vendorData === undefined) return undefined;
      return { metaData, userData, vendorData, networkConfig: await text(NAMES.networkConfig) };
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  async #make(path: string, files: SeedFiles, work: string, signal: AbortSignal): Promise<void> {
    must(await this.#run(['mkfs.vfat', '-n', SEED_LABEL, '-C', path, String(SEED_KIB)], signal));
    for (const [key, name] of Object.entries(NAMES)) {
      const text = files[key as keyof SeedFiles];
      if (text === undefined) continue;
      const from = join(work, name);
      await writeFile(from, text);
      must(await this.#run(['mcopy', '-i', path, from, `::${name}`], signal));
    }
  }

  async #run(command: readonly [string, ...string[]], signal: AbortSignal): Promise<ExecResult> {
    const result = await this.#exec.run(command, { timeoutMs: TOOL_MS, signal });
    signal.throwIfAborted();
    if (result.kind !== 'missing') return result;
    const [program] = command;
    throw new AppError('unavailable', `The host cannot make a seed for cloud-init: it has no ${program}`, {
      hint: `apt-get install ${PACKAGES[program] ?? program}, on the host`,
    });
  }

  async #makeWork(): Promise<string> {
    await mkdir(this.#workFolder, { recursive: true, mode: 0o700 });
    return mkdtemp(join(this.#workFolder, 'seed-'));
  }
}

/** Cheap: most disks are none. */
async function hasLabel(path: string): Promise<boolean> {
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return false;
  try {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(512), position: 0 });
    const label = buffer.toString('latin1', LABEL_AT, LABEL_AT + LABEL_BYTES).trim();
    return bytesRead === 512 && label.toLowerCase() === SEED_LABEL;
  } finally {
    await file.close();
  }
}

function must(result: ExecResult): void {
  if (result.kind === 'ok') return;
  throw wrongState(`The seed for cloud-init could not be made: ${result.argv[0] ?? ''} failed`, {
    output: outputOf(result),
  });
}
