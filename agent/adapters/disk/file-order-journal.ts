// Invariants:
// - One JSON text a line. A line is durable before append() returns; a crash can damage the last line only.
// - The file is cut back to the last 1,000 when it has twice as many.
import { readFile } from 'node:fs/promises';
import * as v from 'valibot';
import { ERROR_CODES } from '../../../shared/errors.js';
import { ipv4FromNumber } from '../../../shared/domain/ipv4.js';
import { macFromNumber } from '../../../shared/domain/mac.js';
import type { OrderResult } from '../../domain/order.js';
import type { OrderJournal } from '../../ports/order-journal.js';
import { fileError, unlessMissing, withFile, writeFileAtomically } from './atomic-file.js';

const MAX_RESULTS = 1000;

const Vif = v.object({
  index: v.number(),
  mac: v.exactOptional(v.pipe(v.number(), v.transform(macFromNumber))),
  bridge: v.exactOptional(v.string()),
  guestAddress: v.exactOptional(v.pipe(v.number(), v.transform(ipv4FromNumber))),
});

const Vm = v.object({
  key: v.string(),
  name: v.string(),
  cfgPath: v.exactOptional(v.string()),
  uuid: v.exactOptional(v.string()),
  state: v.picklist(['unknown', 'stopped', 'starting', 'running', 'paused', 'stopping', 'crashed']),
  memoryMib: v.number(),
  vcpus: v.number(),
  vifs: v.array(Vif),
  problem: v.exactOptional(v.string()),
});

const Result = v.object({
  orderId: v.string(),
  failure: v.exactOptional(
    v.object({ code: v.picklist(ERROR_CODES), message: v.string(), details: v.record(v.string(), v.string()) }),
  ),
  vm: v.exactOptional(Vm),
  // Of an agent before there were any.
  warnings: v.optional(v.array(v.string()), []),
});

export class FileOrderJournal implements OrderJournal {
  readonly #path: string;
  #lines: string[] = [];
  #linesOnDisk = 0;
  #last: Promise<void> = Promise.resolve();

  /** @param path absolute; made when first needed */
  constructor(path: string) {
    this.#path = path;
  }

  async load(): Promise<readonly OrderResult[]> {
    const text = (await unlessMissing(readFile(this.#path, 'utf8'))) ?? '';
    const lines = text.split('\n').filter((line) => line !== '');
    const results = lines.flatMap(parseLine).slice(-MAX_RESULTS);
    this.#lines = results.map((result) => JSON.stringify(result));
    // A damaged end must not have the next line glued to it.
    this.#linesOnDisk = results.length === lines.length && /^$|\n$/.test(text) ? lines.length : Infinity;
    return results;
  }

  append(result: OrderResult): Promise<void> {
    const done = this.#last.then(() => this.#appendNow(JSON.stringify(result)));
    this.#last = done.catch(() => undefined);
    return done;
  }

  async #appendNow(line: string): Promise<void> {
    this.#lines = [...this.#lines.slice(1 - MAX_RESULTS), line];
    if (this.#linesOnDisk >= 2 * MAX_RESULTS) return this.#rewrite();
    try {
      await withFile(this.#path, 'a', async (file) => {
        await file.appendFile(`${line}\n`);
        await file.datasync();
      });
      this.#linesOnDisk += 1;
    } catch (error) {
      this.#linesOnDisk = Infinity;
      throw fileError(`${this.#path} cannot be written`, error);
    }
  }

  async #rewrite(): Promise<void> {
    await writeFileAtomically(this.#path, Buffer.from(`${this.#lines.join('\n')}\n`), { mode: 0o600 });
    this.#linesOnDisk = this.#lines.length;
  }
}

function parseLine(line: string): readonly OrderResult[] {
  try {
    const { orderId, failure, vm, warnings } = v.parse(Result, JSON.parse(line));
    return [{ orderId, failure, vm: vm && withAllKeys(vm), warnings }];
  } catch {
    return [];
  }
}

// JSON leaves out what is undefined.
function withAllKeys(vm: v.InferOutput<typeof Vm>): OrderResult['vm'] {
  const nothing = { cfgPath: undefined, uuid: undefined, problem: undefined };
  const noVif = { mac: undefined, bridge: undefined, guestAddress: undefined };
  return { ...nothing, ...vm, vifs: vm.vifs.map((vif) => ({ ...noVif, ...vif })) };
}
