// Guests with a seed disk of domherd's: cloud-init inside writes their files, by what the seed says. All others are left to
// who edits files.
//
// Invariants:
// - A seed is replaced whole: at any time it has all of the old bytes or all of the new ones.
// - Before it is replaced, what it was is on record; whoever finds the record open can put it back, byte for byte.
import { createHash } from 'node:crypto';
import { open, readFile, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import * as v from 'valibot';
import type { RenewSettings } from '../../domain/guest/renew-plan.js';
import { addressSeed, isOwnSeed, readSeed, renewSeed, type SeedFiles } from '../../domain/seed/seed-files.js';
import { noSeed, seedPath } from '../../domain/seed/seed-disk.js';
import { AppError, messageOf, toAppError, wrongState } from '../../../shared/errors.js';
import type { GuestSettings } from '../../domain/order.js';
import type { Guest, GuestChange, GuestDisk, GuestNetwork } from '../../ports/guest-disk.js';
import type { RecordStore } from '../../ports/record-store.js';
import type { DiskUse } from './disk-use.js';
import type { SeedTools } from './seed-tools.js';

const READ_MS = 30_000;

const RecordSchema = v.object({
  version: v.literal(1),
  path: v.string(),
  /** gzip, base64: most of a seed is zeros. */
  before: v.string(),
  /** SHA-256 of what it became; empty in what is kept for a restore. */
  after: v.string(),
  isRestore: v.boolean(),
});

type SeedRecord = v.InferOutput<typeof RecordSchema>;

interface Seed {
  readonly path: string;
  readonly files: SeedFiles;
}

export interface SeedGuestDiskParts {
  /** For all guests without a seed. */
  readonly files: GuestDisk;
  readonly tools: SeedTools;
  readonly use: DiskUse;
  /** The changes that are open. */
  readonly changes: RecordStore;
  /** The seeds as they were before the first change that stood. */
  readonly originals: RecordStore;
}

export class SeedGuestDisk implements GuestDisk {
  readonly #parts: SeedGuestDiskParts;
  /** By path of the seed. */
  readonly #known = new Map<string, { readonly signature: string; readonly network: GuestNetwork | undefined }>();

  constructor(parts: SeedGuestDiskParts) {
    this.#parts = parts;
  }

  async read(guest: Guest): Promise<GuestNetwork | undefined> {
    const path = seedPath(guest.cfg);
    if (path === undefined) return this.#parts.files.read(guest);
    const network = await this.#readSeed(path).catch(() => undefined);
    return network ?? this.#parts.files.read(guest);
  }

  async write(guest: Guest, settings: GuestSettings, signal: AbortSignal): Promise<GuestChange> {
    const seed = await this.#find(guest, signal);
    if (seed === undefined) return this.#parts.files.write(guest, settings, signal);
    await this.#refuseOpen(guest.cfgPath);
    const after = addressSeed(seed.files, guest.name, settings);
    if (after === seed.files) return NOTHING_DONE;
    const draft = await this.#parts.tools.draft(after, signal);
    try {
      return await this.#replace(guest.cfgPath, seed.path, await readFile(draft.path), false, signal);
    } finally {
      await draft.remove();
    }
  }

  async restore(guest: Guest, signal: AbortSignal): Promise<GuestChange | undefined> {
    const bytes = await this.#parts.originals.read(keyOf(guest.cfgPath));
    if (bytes === undefined) return this.#parts.files.restore(guest, signal);
    await this.#refuseOpen(guest.cfgPath);
    const { path, before } = parseRecord(bytes);
    return this.#replace(guest.cfgPath, path, unpack(before), true, signal);
  }

  async renew(guest: Guest, settings: RenewSettings, signal: AbortSignal): Promise<readonly string[]> {
    const { files, tools } = this.#parts;
    const seed = await this.#find(guest, signal);
    const { authorizedKeys = [], userData } = settings;
    if (seed === undefined) {
      if (userData !== undefined) throw noSeed(`${guest.name}, a copy,`);
      return files.renew(guest, settings, signal);
    }
    await this.#refuseInUse(seed.path);
    const draft = await tools.draft(renewSeed(seed.files, { name: guest.name, authorizedKeys, userData }), signal);
    try {
      await replaceFile(seed.path, await readFile(draft.path));
    } finally {
      await draft.remove();
    }
    // For a new instance cloud-init makes host keys by itself.
    return files.renew(guest, settings, signal).catch((error: unknown) => {
      refuseUnlessClosed(error);
      return [];
    });
  }

  async grow(guest: Guest, signal: AbortSignal): Promise<void> {
    const seed = await this.#find(guest, signal);
    if (seed === undefined) return this.#parts.files.grow(guest, signal);
    // At its next boot cloud-init grows what it finds longer.
    await this.#parts.files.grow(guest, signal).catch(refuseUnlessClosed);
  }

  async forget(cfgPath: string): Promise<void> {
    await this.#parts.changes.remove(keyOf(cfgPath));
    await this.#parts.originals.remove(keyOf(cfgPath));
    await this.#parts.files.forget(cfgPath);
  }

  async follow(from: string, to: string): Promise<void> {
    const { originals, files } = this.#parts;
    const bytes = await originals.read(keyOf(from));
    if (bytes !== undefined) await originals.write(keyOf(to), bytes);
    await files.follow(from, to);
    await this.forget(from);
  }

  async findOpen(cfgPath: string): Promise<GuestChange | undefined> {
    const bytes = await this.#parts.changes.read(keyOf(cfgPath));
    if (bytes === undefined) return this.#parts.files.findOpen(cfgPath);
    return this.#openChange(cfgPath, parseRecord(bytes));
  }

  async #find(guest: Guest, signal: AbortSignal): Promise<Seed | undefined> {
    const path = seedPath(guest.cfg);
    const files = path === undefined ? undefined : await this.#parts.tools.read(path, signal);
    return path === undefined || files === undefined || !isOwnSeed(files) ? undefined : { path, files };
  }

  async #readSeed(path: string): Promise<GuestNetwork | undefined> {
    const { mtimeMs, size, ino } = await stat(path);
    const signature = `${mtimeMs} ${size} ${ino}`;
    const known = this.#known.get(path);
    if (known?.signature === signature) return known.network;
    const files = await this.#parts.tools.read(path, AbortSignal.timeout(READ_MS));
    const network = files !== undefined && isOwnSeed(files) ? readSeed(files) : undefined;
    this.#known.set(path, { signature, network });
    return network;
  }

  async #replace(
    cfgPath: string,
    path: string,
    bytes: Buffer,
    isRestore: boolean,
    signal: AbortSignal,
  ): Promise<GuestChange> {
    const { changes } = this.#parts;
    await this.#refuseInUse(path);
    signal.throwIfAborted();
    const before = gzipSync(await readFile(path)).toString('base64');
    const record: SeedRecord = { version: 1, path, before, after: hashOf(bytes), isRestore };
    await changes.write(keyOf(cfgPath), formatRecord(record));
    try {
      await replaceFile(path, bytes);
    } catch (error) {
      // A rename is all or nothing; nothing of it was done.
      await changes.remove(keyOf(cfgPath));
      throw error;
    }
    return this.#openChange(cfgPath, record);
  }

  #openChange(cfgPath: string, record: SeedRecord): GuestChange {
    const { changes, originals } = this.#parts;
    const key = keyOf(cfgPath);
    return {
      warnings: [],
      undo: async () => {
        if ((await changes.read(key)) === undefined) return;
        await this.#refuseInUse(record.path);
        const before = unpack(record.before);
        const now = hashOf(await readFile(record.path));
        if (now !== record.after && now !== hashOf(before)) {
          throw new AppError('raced', `The seed ${record.path} was changed since it was written`, {
            disk: record.path,
          });
        }
        await replaceFile(record.path, before);
        await changes.remove(key);
      },
      keep: async () => {
        if ((await changes.read(key)) === undefined) return;
        if (record.isRestore) await originals.remove(key);
        else if ((await originals.read(key)) === undefined) {
          await originals.write(key, formatRecord({ ...record, after: '' }));
        }
        await changes.remove(key);
      },
    };
  }

  async #refuseOpen(cfgPath: string): Promise<void> {
    if ((await this.#parts.changes.read(keyOf(cfgPath))) === undefined) return;
    throw wrongState(`An earlier change of the guest of ${cfgPath} is open`, { hint: 'restart domherd-agent' });
  }

  async #refuseInUse(path: string): Promise<void> {
    const user = await this.#parts.use.userOf(path);
    if (user === undefined) return;
    throw wrongState(`The seed ${path} is in use by ${user}`, { disk: path, hint: 'shut the VM down first' });
  }
}

const NOTHING_DONE: GuestChange = { warnings: [], undo: () => Promise.resolve(), keep: () => Promise.resolve() };

/** A disk that cannot be written from outside is no failure where cloud-init does it from inside. */
function refuseUnlessClosed(error: unknown): void {
  if (toAppError(error).code !== 'invalid') throw error;
}

async function replaceFile(path: string, bytes: Buffer): Promise<void> {
  const temporary = `${path}.new`;
  try {
    const file = await open(temporary, 'w', 0o600);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
    const folder = await open(dirname(path), 'r');
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => undefined);
    throw new AppError('unavailable', `The seed ${path} cannot be written: ${messageOf(error)}`, {}, error);
  }
}

function formatRecord(record: SeedRecord): Buffer {
  return Buffer.from(JSON.stringify(record));
}

function parseRecord(bytes: Uint8Array): SeedRecord {
  try {
    return v.parse(RecordSchema, JSON.parse(Buffer.from(bytes).toString()));
  } catch (error) {
    throw wrongState(`The record of a seed before it was changed cannot be read: ${messageOf(error)}`);
  }
}

function unpack(packed: string): Buffer {
  return gunzipSync(Buffer.from(packed, 'base64'));
}

function hashOf(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function keyOf(cfgPath: string): string {
  return createHash('sha256').update(cfgPath).digest('hex').slice(0, 40);
}
