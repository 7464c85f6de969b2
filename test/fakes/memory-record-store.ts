// An async function of a fake turns what it throws into a rejection, as the real one's do.
/* eslint-disable @typescript-eslint/require-await */
import type { AppError } from '../../shared/errors.js';
import type { RecordStore } from '../../agent/ports/record-store.js';

export class MemoryRecordStore implements RecordStore {
  readonly records = new Map<string, Uint8Array>();
  /** What the next write or remove throws. */
  fault: AppError | undefined;

  async list(): Promise<readonly string[]> {
    return [...this.records.keys()].sort();
  }

  async read(key: string): Promise<Uint8Array | undefined> {
    return this.records.get(key);
  }

  async write(key: string, bytes: Uint8Array): Promise<void> {
    if (this.fault !== undefined) throw this.fault;
    this.records.set(key, bytes);
  }

  async remove(key: string): Promise<void> {
    if (this.fault !== undefined) throw this.fault;
    this.records.delete(key);
  }
}
