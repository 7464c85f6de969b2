import { createHash } from 'node:crypto';
import * as v from 'valibot';
import { messageOf, wrongState } from '../../../shared/errors.js';
import type { Intent, IntentLog } from '../../ports/intent-log.js';
import type { RecordStore } from '../../ports/record-store.js';

const IntentSchema = v.object({ cfgPath: v.string(), before: v.string(), after: v.string() });

/** An intent is a record of JSON. */
export class RecordIntentLog implements IntentLog {
  readonly #records: RecordStore;

  constructor(records: RecordStore) {
    this.#records = records;
  }

  async list(): Promise<readonly Intent[]> {
    const found = await Promise.all((await this.#records.list()).map((key) => this.#read(key)));
    return found.filter((intent) => intent !== undefined);
  }

  find(cfgPath: string): Promise<Intent | undefined> {
    return this.#read(keyOf(cfgPath));
  }

  begin(intent: Intent): Promise<void> {
    return this.#records.write(keyOf(intent.cfgPath), Buffer.from(JSON.stringify(intent)));
  }

  end(cfgPath: string): Promise<void> {
    return this.#records.remove(keyOf(cfgPath));
  }

  async #read(key: string): Promise<Intent | undefined> {
    const bytes = await this.#records.read(key);
    if (bytes === undefined) return undefined;
    try {
      return v.parse(IntentSchema, JSON.parse(Buffer.from(bytes).toString()));
    } catch (error) {
      throw wrongState(`The record ${key} of a change under way cannot be read: ${messageOf(error)}`);
    }
  }
}

function keyOf(cfgPath: string): string {
  return createHash('sha256').update(cfgPath).digest('hex').slice(0, 40);
}
