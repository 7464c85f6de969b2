// `deployment.json`, `leases.json` and `events.json` in the state folder.
import { mkdir, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { ipv4FromNumber } from '../../../shared/domain/ipv4.js';
import { macFromNumber } from '../../../shared/domain/mac.js';
import type { Deployment } from '../../domain/deployment.js';
import type { HostEvent } from '../../domain/host-event.js';
import { withRecords, type LeaseRecord } from '../../domain/lease-record.js';
import type { DeploymentRecord, EventBacklog, LeaseBook } from '../../ports/boot-record.js';
import { writeFileAtomically } from './atomic-file.js';

const MAX_EVENTS = 1000;

const optional = <T extends v.GenericSchema>(schema: T): v.OptionalSchema<T, undefined> => v.optional(schema);

const DeploymentShape = v.object({
  id: v.string(),
  facts: v.object({ rootFs: optional(v.string()), machine: optional(v.string()), macs: v.array(v.string()) }),
});

const LeasesShape = v.array(
  v.object({
    cfgPath: v.string(),
    vifIndex: v.number(),
    address: v.pipe(v.number(), v.transform(ipv4FromNumber)),
    mac: v.pipe(v.number(), v.transform(macFromNumber)),
    deploymentId: v.string(),
    endsAtMs: optional(v.number()),
  }),
);

const EventsShape = v.array(
  v.object({
    kind: v.string(),
    message: v.string(),
    vmKey: optional(v.string()),
    details: v.record(v.string(), v.string()),
  }),
);

export class FileDeploymentRecord implements DeploymentRecord {
  readonly #path: string;

  /** @param stateDir absolute; made if it is missing */
  constructor(stateDir: string) {
    this.#path = join(stateDir, 'deployment.json');
  }

  async read(): Promise<Deployment | undefined> {
    const found = await readShape(this.#path, DeploymentShape);
    if (found === undefined) return undefined;
    const { rootFs, machine, macs } = found.facts;
    return { id: found.id, facts: { rootFs, machine, macs } };
  }

  write(deployment: Deployment): Promise<void> {
    return writeJson(this.#path, deployment);
  }
}

export class FileLeaseBook implements LeaseBook {
  readonly #path: string;
  #last: Promise<void> = Promise.resolve();

  /** @param stateDir absolute; made if it is missing */
  constructor(stateDir: string) {
    this.#path = join(stateDir, 'leases.json');
  }

  async list(): Promise<readonly LeaseRecord[]> {
    const found = (await readShape(this.#path, LeasesShape)) ?? [];
    return found.map((record) => ({ ...record, endsAtMs: record.endsAtMs }));
  }

  keep(records: readonly LeaseRecord[]): Promise<void> {
    return this.#change((before) => withRecords(before, records));
  }

  replaceAll(records: readonly LeaseRecord[]): Promise<void> {
    return this.#change(() => records);
  }

  /** One after the other: two orders may end at once. */
  #change(change: (before: readonly LeaseRecord[]) => readonly LeaseRecord[]): Promise<void> {
    const done = this.#last.then(async () => {
      const before = await this.list();
      const after = change(before);
      if (JSON.stringify(after) !== JSON.stringify(before)) await writeJson(this.#path, after);
    });
    this.#last = done.catch(() => undefined);
    return done;
  }
}

export class FileEventBacklog implements EventBacklog {
  readonly #path: string;

  /** @param stateDir absolute; made if it is missing */
  constructor(stateDir: string) {
    this.#path = join(stateDir, 'events.json');
  }

  async list(): Promise<readonly HostEvent[]> {
    const found = (await readShape(this.#path, EventsShape)) ?? [];
    return found.map((event) => ({ ...event, vmKey: event.vmKey }));
  }

  async append(events: readonly HostEvent[]): Promise<void> {
    if (events.length === 0) return;
    await writeJson(this.#path, [...(await this.list()), ...events].slice(-MAX_EVENTS));
  }

  async dropFirst(count: number): Promise<void> {
    if (count > 0) await writeJson(this.#path, (await this.list()).slice(count));
  }
}

async function readShape<T extends v.GenericSchema>(path: string, shape: T): Promise<v.InferOutput<T> | undefined> {
  try {
    return v.parse(shape, JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}

async function writeJson(path: string, value: unknown): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFileAtomically(path, Buffer.from(`${JSON.stringify(value)}\n`), { mode: 0o600 });
}
