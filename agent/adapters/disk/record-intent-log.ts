import type { Logger } from 'pino';
import * as v from 'valibot';
import { AppError, messageOf, wrongState } from '../../../shared/errors.js';
import type { Intent, IntentLog } from '../../ports/intent-log.js';
import type { RecordStore } from '../../ports/record-store.js';
import { FormerCfgSchema, recordKeyOf } from './cfg-record.js';

const IntentSchema = v.object({
  cfgPath: v.string(),
  before: v.string(),
  after: v.string(),
  formerBefore: v.optional(FormerCfgSchema),
  formerAfter: v.optional(FormerCfgSchema),
});

const DAMAGED = '.damaged';

/** An intent is a record of JSON. */
export class RecordIntentLog implements IntentLog {
  readonly #records: RecordStore;
  readonly #log: Logger;

  constructor(records: RecordStore, log: Logger) {
    this.#records = records;
    this.#log = log;
  }

  async list(): Promise<readonly Intent[]> {
    const keys = (await this.#records.list()).filter((key) => !key.endsWith(DAMAGED));
    const found = await Promise.all(keys.map((key) => this.#readOrMoveAside(key)));
    return found.filter((intent) => intent !== undefined);
  }

  find(cfgPath: string): Promise<Intent | undefined> {
    return this.#read(recordKeyOf(cfgPath));
  }

  begin(intent: Intent): Promise<void> {
    return this.#records.write(recordKeyOf(intent.cfgPath), Buffer.from(JSON.stringify(intent)));
  }

  end(cfgPath: string): Promise<void> {
    return this.#records.remove(recordKeyOf(cfgPath));
  }

  /** Whose it was cannot be told: it is kept for people, and is in nobody's way. */
  async #readOrMoveAside(key: string): Promise<Intent | undefined> {
    try {
      return await this.#read(key);
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'wrong_state') throw error;
      const aside = `${key}${DAMAGED}`;
      this.#log.error({ err: error, aside }, 'the record of a change that was left half done is damaged: moved aside');
      await this.#moveAside(key, aside).catch((fault: unknown) => {
        this.#log.error({ err: fault, aside }, 'a damaged record cannot be moved now');
      });
      return undefined;
    }
  }

  async #moveAside(key: string, aside: string): Promise<void> {
    await this.#records.write(aside, (await this.#records.read(key)) ?? Buffer.alloc(0));
    await this.#records.remove(key);
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
