import * as v from 'valibot';
import { messageOf, wrongState } from '../../../shared/errors.js';
import type { RecordStore } from '../../ports/record-store.js';
import type { RenameLog, Renaming } from '../../ports/rename-log.js';
import { recordKeyOf } from './cfg-record.js';

const RenamingSchema = v.object({ from: v.string(), to: v.string(), name: v.string(), isAutostarted: v.boolean() });

/** A record of JSON a renaming. */
export class RecordRenameLog implements RenameLog {
  readonly #records: RecordStore;

  constructor(records: RecordStore) {
    this.#records = records;
  }

  async list(): Promise<readonly Renaming[]> {
    const found = await Promise.all((await this.#records.list()).map((key) => this.#read(key)));
    return found.filter((renaming) => renaming !== undefined);
  }

  find(from: string): Promise<Renaming | undefined> {
    return this.#read(recordKeyOf(from));
  }

  begin(renaming: Renaming): Promise<void> {
    return this.#records.write(recordKeyOf(renaming.from), Buffer.from(JSON.stringify(renaming)));
  }

  end(from: string): Promise<void> {
    return this.#records.remove(recordKeyOf(from));
  }

  async #read(key: string): Promise<Renaming | undefined> {
    const bytes = await this.#records.read(key);
    if (bytes === undefined) return undefined;
    try {
      return v.parse(RenamingSchema, JSON.parse(Buffer.from(bytes).toString()));
    } catch (error) {
      throw wrongState(`The record ${key} of a VM that is being renamed cannot be read: ${messageOf(error)}`);
    }
  }
}
