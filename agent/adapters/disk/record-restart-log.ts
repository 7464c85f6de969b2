import * as v from 'valibot';
import type { RecordStore } from '../../ports/record-store.js';
import type { Restarting, RestartLog } from '../../ports/restart-log.js';
import { recordKeyOf } from './cfg-record.js';

const RestartingSchema = v.object({ orderId: v.string(), domid: v.optional(v.number()) });

/** A record of JSON a VM. */
export class RecordRestartLog implements RestartLog {
  readonly #records: RecordStore;

  constructor(records: RecordStore) {
    this.#records = records;
  }

  async find(cfgPath: string): Promise<Restarting | undefined> {
    const bytes = await this.#records.read(recordKeyOf(cfgPath));
    if (bytes === undefined) return undefined;
    try {
      const { orderId, domid } = v.parse(RestartingSchema, JSON.parse(Buffer.from(bytes).toString()));
      return { orderId, domid };
    } catch {
      // Whose it was cannot be told: at worst its VM is shut down once more.
      return undefined;
    }
  }

  begin(cfgPath: string, restarting: Restarting): Promise<void> {
    return this.#records.write(recordKeyOf(cfgPath), Buffer.from(JSON.stringify(restarting)));
  }
}
