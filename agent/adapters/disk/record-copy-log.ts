import * as v from 'valibot';
import { messageOf, wrongState } from '../../../shared/errors.js';
import { KEPT_AS } from '../../domain/new-disk.js';
import type { CopyLog, CopyRecord } from '../../ports/copy-log.js';
import type { RecordStore } from '../../ports/record-store.js';
import { recordKeyOf } from './cfg-record.js';

const DiskSchema = v.union([
  v.object({ path: v.string(), storage: v.picklist(KEPT_AS), origin: v.optional(v.string()) }),
  // Up to 0.1.0 all were files, and a record named their paths.
  v.pipe(
    v.string(),
    v.transform((path) => ({ path, storage: 'copy' as const })),
  ),
]);

const CopySchema = v.object({
  cfgPath: v.string(),
  cfgText: v.string(),
  disks: v.array(DiskSchema),
  isWhole: v.boolean(),
});

/** What a VM was made of is a record of JSON. */
export class RecordCopyLog implements CopyLog {
  readonly #records: RecordStore;

  constructor(records: RecordStore) {
    this.#records = records;
  }

  async list(): Promise<readonly CopyRecord[]> {
    const found = await Promise.all((await this.#records.list()).map((key) => this.#read(key)));
    return found.filter((record) => record !== undefined);
  }

  find(cfgPath: string): Promise<CopyRecord | undefined> {
    return this.#read(recordKeyOf(cfgPath));
  }

  put(record: CopyRecord): Promise<void> {
    return this.#records.write(recordKeyOf(record.cfgPath), Buffer.from(JSON.stringify(record)));
  }

  remove(cfgPath: string): Promise<void> {
    return this.#records.remove(recordKeyOf(cfgPath));
  }

  async #read(key: string): Promise<CopyRecord | undefined> {
    const bytes = await this.#records.read(key);
    if (bytes === undefined) return undefined;
    try {
      return v.parse(CopySchema, JSON.parse(Buffer.from(bytes).toString()));
    } catch (error) {
      throw wrongState(`The record ${key} of a VM that was made here cannot be read: ${messageOf(error)}`);
    }
  }
}
