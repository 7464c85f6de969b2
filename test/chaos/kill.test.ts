import { randomInt, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { credentials } from '@grpc/grpc-js';
import t, { type Test } from 'tap';
import { AppError } from '../../shared/errors.js';
import {
  LeaseServiceClient,
  LeaseState,
  type AcquireLeasesRequest,
  type Lease,
  type ReleaseLeasesRequest,
} from '../../shared/gen/domherd/v1/lease.js';
import { callStream, callUnary } from '../../shared/grpc/client.js';
import { Fleet } from '../harness/fleet.js';

// The kill test: clients acquire and release with request ids, the controller is SIGKILLed at random moments and started
// again. Afterwards every answer that was given must hold, no address or MAC may have two owners, and a request that is
// sent again gets the answer that it got, or its first one. DOMHERD_KILLS makes it shorter or longer.

const KILLS = Number(process.env['DOMHERD_KILLS'] ?? 200);
const WORKERS = 8;
/** A kill comes so long after the start of the load: most rounds die inside a commit. */
const KILL_AFTER_MS = { min: 5, max: 120 };
const CALL = { timeoutMs: 20_000 };
/** Answers to replay after each restart; all of them at the end. */
const REPLAYS_PER_ROUND = 20;

type Request =
  | { readonly kind: 'acquire'; readonly request: AcquireLeasesRequest }
  | { readonly kind: 'release'; readonly request: ReleaseLeasesRequest };

interface Answered {
  readonly asked: Request;
  readonly leases: readonly Lease[];
}

/** What the clients were told. */
class Ledger {
  readonly answers: Answered[] = [];
  /** By address: what the last answer said of it. */
  readonly told = new Map<string, Lease>();
  /** Sent, and the controller died before it answered. */
  open: Request[] = [];

  note(asked: Request, leases: readonly Lease[]): void {
    this.answers.push({ asked, leases });
    for (const lease of leases) this.told.set(lease.address, lease);
  }

  /** A bound lease that nobody is releasing at the moment. */
  takeBound(): Lease | undefined {
    for (const lease of this.told.values()) {
      if (lease.state === LeaseState.BOUND && !this.#busy.has(lease.address)) {
        this.#busy.add(lease.address);
        return lease;
      }
    }
    return undefined;
  }

  readonly #busy = new Set<string>();
}

let owners = 0;

function newAcquire(): Request {
  const claims = Array.from({ length: randomInt(1, 6) }, () => {
    owners += 1;
    return { owner: { owner: { $case: 'name' as const, value: `kill-${String(owners)}` } } };
  });
  return { kind: 'acquire', request: { requestId: randomUUID(), reservation: 'kill', claims, ttlSeconds: 0 } };
}

function newRelease(lease: Lease): Request {
  return { kind: 'release', request: { requestId: randomUUID(), addresses: [lease.address], force: false } };
}

async function send(client: LeaseServiceClient, asked: Request): Promise<readonly Lease[]> {
  if (asked.kind === 'acquire') return (await callUnary(client.acquire.bind(client), asked.request, CALL)).leases;
  return (await callUnary(client.release.bind(client), asked.request, CALL)).leases;
}

/** Asks until the controller dies. Only that may go wrong. */
async function work(client: LeaseServiceClient, ledger: Ledger): Promise<void> {
  for (;;) {
    const bound = randomInt(3) === 0 ? ledger.takeBound() : undefined;
    const asked = bound ? newRelease(bound) : newAcquire();
    try {
      ledger.note(asked, await send(client, asked));
    } catch (error) {
      if (!(error instanceof AppError) || error.code !== 'unavailable') throw error;
      ledger.open.push(asked);
      return;
    }
  }
}

function connect(fleet: Fleet): LeaseServiceClient {
  return new LeaseServiceClient(`unix:${fleet.socket}`, credentials.createInsecure());
}

async function runUntilKilled(fleet: Fleet, ledger: Ledger): Promise<void> {
  const client = connect(fleet);
  const workers = Promise.all(Array.from({ length: WORKERS }, () => work(client, ledger)));
  await delay(randomInt(KILL_AFTER_MS.min, KILL_AFTER_MS.max));
  await fleet.killController();
  await workers;
  client.close();
}

/** Sends again what got no answer: done then or now, it has one outcome from here on. */
async function settleOpen(client: LeaseServiceClient, ledger: Ledger): Promise<void> {
  const open = ledger.open;
  ledger.open = [];
  for (const asked of open) ledger.note(asked, await send(client, asked));
}

async function replay(t: Test, client: LeaseServiceClient, answered: readonly Answered[]): Promise<void> {
  for (const { asked, leases } of answered) t.strictSame(await send(client, asked), leases, 'the same answer');
}

async function listAll(client: LeaseServiceClient): Promise<Lease[]> {
  const all: Lease[] = [];
  const request = { reservation: 'kill', states: [], address: '', mac: '' };
  for await (const batch of callStream(client.list.bind(client), request)) all.push(...batch.leases);
  return all;
}

/** Everything that anybody was told, against everything that there is. */
async function verify(t: Test, client: LeaseServiceClient, ledger: Ledger): Promise<void> {
  const all = await listAll(client);
  const byAddress = new Map(all.map((lease) => [lease.address, lease]));
  const broken = [...ledger.told.values()].filter((told) => {
    const now = byAddress.get(told.address);
    return now === undefined || now.id !== told.id || now.mac !== told.mac || now.state !== told.state;
  });
  t.strictSame(broken, [], 'every answer holds');
  t.equal(byAddress.size, all.length, 'no address twice');
  t.equal(new Set(all.map(({ mac }) => mac)).size, all.length, 'no MAC twice');
  const owned = all.filter(({ state }) => state === LeaseState.BOUND).map(({ owner }) => owner?.owner?.value);
  t.equal(new Set(owned).size, owned.length, 'no owner twice');
}

t.test(`the controller killed ${String(KILLS)} times`, async (t) => {
  const fleet = new Fleet();
  t.teardown(() => fleet.stop());
  const ledger = new Ledger();
  await fleet.startController();
  const imported = await fleet.domherd(
    ['reservation', 'import', '-', '--name', 'kill', '--ends', '+12h', '--gateway', '10.183.255.254', '--prefix', '14'],
    '10.180.0.0/14\n',
  );
  t.equal(imported.exitCode, 0, imported.stderr);

  for (let round = 0; round < KILLS; round += 1) {
    await runUntilKilled(fleet, ledger);
    await fleet.startController();
    const client = connect(fleet);
    await settleOpen(client, ledger);
    const some = Array.from({ length: REPLAYS_PER_ROUND }, () => ledger.answers[randomInt(ledger.answers.length)]);
    await replay(
      t,
      client,
      some.filter((answered) => answered !== undefined),
    );
    if (round % 20 === 19 || round === KILLS - 1) await verify(t, client, ledger);
    client.close();
  }
  const client = connect(fleet);
  await replay(t, client, ledger.answers.slice(-2_000));
  client.close();
  t.ok(
    ledger.answers.length > KILLS,
    `${String(ledger.answers.length)} answers, ${String(ledger.told.size)} addresses`,
  );
});
