import * as v from 'valibot';
import { messageOf, wrongState } from '../../../shared/errors.js';
import type { FormerCfg } from '../../domain/former-cfg.js';
import type { FormerCfgs } from '../../ports/former-cfgs.js';
import type { RecordStore } from '../../ports/record-store.js';
import { FormerCfgSchema, recordKeyOf } from './cfg-record.js';

const RecordSchema = v.object({ cfgPath: v.string(), former: FormerCfgSchema });

/** A record of JSON a cfg. */
export class RecordFormerCfgs implements FormerCfgs {
  readonly #records: RecordStore;

  constructor(records: RecordStore) {
    this.#records = records;
  }

  async find(cfgPath: string): Promise<FormerCfg | undefined> {
    const key = recordKeyOf(cfgPath);
    const bytes = await this.#records.read(key);
    if (bytes === undefined) return undefined;
    try {
      return v.parse(RecordSchema, JSON.parse(Buffer.from(bytes).toString())).former;
    } catch (error) {
      throw wrongState(`The record of what ${cfgPath} was before it was written cannot be read: ${messageOf(error)}`, {
        path: cfgPath,
        hint: `remove cfg-originals/${key} in the state folder of the agent; what the cfg was is in backup/ beside it`,
      });
    }
  }

  async put(cfgPath: string, former: FormerCfg | undefined): Promise<void> {
    const key = recordKeyOf(cfgPath);
    if (former === undefined) return this.#records.remove(key);
    const bytes = Buffer.from(JSON.stringify({ cfgPath, former }));
    const present = await this.#records.read(key);
    if (present === undefined || !bytes.equals(present)) await this.#records.write(key, bytes);
  }
}
