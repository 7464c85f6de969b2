import * as v from 'valibot';
import { messageOf, wrongState } from '../../../shared/errors.js';
import type { Arrival, Arrivals } from '../../ports/arrivals.js';
import type { RecordStore } from '../../ports/record-store.js';
import { recordKeyOf } from './cfg-record.js';

const ArrivalSchema = v.object({
  cfgPath: v.string(),
  migrationId: v.string(),
  name: v.string(),
  cfgText: v.string(),
  hasCome: v.boolean(),
});

/** A record of JSON each. */
export class RecordArrivals implements Arrivals {
  readonly #records: RecordStore;

  constructor(records: RecordStore) {
    this.#records = records;
  }

  async find(cfgPath: string): Promise<Arrival | undefined> {
    const bytes = await this.#records.read(recordKeyOf(cfgPath));
    if (bytes === undefined) return undefined;
    try {
      return v.parse(ArrivalSchema, JSON.parse(Buffer.from(bytes).toString()));
    } catch (error) {
      throw wrongState(`The record of a VM that was to come as ${cfgPath} cannot be read: ${messageOf(error)}`);
    }
  }

  put(arrival: Arrival): Promise<void> {
    return this.#records.write(recordKeyOf(arrival.cfgPath), Buffer.from(JSON.stringify(arrival)));
  }

  remove(cfgPath: string): Promise<void> {
    return this.#records.remove(recordKeyOf(cfgPath));
  }
}
