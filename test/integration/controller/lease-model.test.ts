import fc from 'fast-check';
import t from 'tap';
import { ownerKey, type Lease } from '../../../controller/domain/lease.js';
import { isHeld } from '../../../controller/domain/lease-transition.js';
import { PoolIndex } from '../../../controller/services/pool-index.js';
import { AppError } from '../../../shared/errors.js';
import { leasedMac, parseMac } from '../../../shared/domain/mac.js';
import {
  callerOf,
  claimOf,
  HOUR_MS,
  importBlocks,
  ip,
  makeAddressServices,
  MINUTE_MS,
  plain,
  vifOwner,
  type AddressServices,
} from '../../harness/address-services.js';

// Random users against the whole service on a real database. Whatever they do: no address and no MAC has two owners, an
// owner keeps what it was told, a repeated request gets its first answer, and memory is what a restart would read.

/** job-1: six addresses. job-2: two of them, under a reservation that begins when job-1 is over. */
const ADDRESSES = ['1', '2', '3', '4', '5', '6'].map((last) => `10.144.0.${last}`);
const OWNERS = [vifOwner(1), vifOwner(2), vifOwner(2, 1), vifOwner(3)];
/** Two that belong to addresses, which others may claim, and some that belong to nothing. */
const CLAIMED = [leasedMac(ip('10.144.0.1')), leasedMac(ip('10.144.0.2'))];
const MACS = [...CLAIMED, ...['52:54:00:00:00:01', '52:54:00:00:00:02', '52:54:00:00:00:03'].map(parseMac)];

interface Model {
  /** By reservation and owner: what the last answer gave, while nothing took it away. */
  readonly told: Map<string, Lease>;
  /** By reservation and owner: what was released last, while it rests. */
  readonly resting: Map<string, Lease>;
  readonly answers: Map<string, { readonly ask: () => Promise<readonly Lease[]>; readonly answer: unknown }>;
  requests: number;
}

interface Real {
  services: AddressServices;
}

type Command = fc.AsyncCommand<Model, Real>;

class Step implements Command {
  readonly #name: string;
  readonly #act: (model: Model, real: Real) => Promise<void>;

  constructor(name: string, act: (model: Model, real: Real) => Promise<void>) {
    this.#name = name;
    this.#act = act;
  }

  check(): boolean {
    return true;
  }

  async run(model: Model, real: Real): Promise<void> {
    await this.#act(model, real).catch((error: unknown) => {
      // A refusal is an answer; anything else is a bug.
      const expected = ['exhausted', 'already_exists', 'wrong_state', 'not_found', 'invalid'];
      if (!(error instanceof AppError) || !expected.includes(error.code)) throw error;
    });
    checkInvariants(model, real.services);
  }

  toString(): string {
    return this.#name;
  }
}

function keyOf(lease: Lease): string {
  return `${String(lease.reservationId)} ${ownerKey(lease.owner)}`;
}

function checkInvariants(model: Model, { journal, pools }: AddressServices): void {
  journal.read((stores) => {
    const leases = stores.leases.list({}, undefined, 1000);
    distinct(
      'address',
      leases.map(({ address }) => address),
    );
    distinct('held owner', leases.filter(({ state }) => isHeld(state)).map(keyOf));
    const macs = stores.macs.list(undefined, 1000);
    const leaseMacs = macs.filter(({ leaseId }) => leaseId !== undefined).map(({ mac }) => mac);
    same(
      'MAC rows',
      leaseMacs,
      leases.map(({ mac }) => mac).sort((a, b) => a - b),
    );
    const fresh = PoolIndex.load(stores);
    for (const pool of pools.list()) {
      const want = fresh.findById(pool.reservation.id)?.bitmap;
      const used = (bitmap: typeof want): boolean[] =>
        Array.from({ length: pool.pool.size }, (_, position) => bitmap?.isUsed(position) === true);
      same(`bitmap of ${pool.reservation.name}`, used(pool.bitmap), used(want));
    }
    for (const lease of model.told.values()) {
      const present = stores.leases.findByAddress(lease.address);
      same('told', [present?.id, present?.mac, present?.state], [lease.id, lease.mac, lease.state]);
    }
  });
}

function distinct(what: string, values: readonly unknown[]): void {
  if (new Set(values).size !== values.length) throw new Error(`${what} twice: ${values.join(', ')}`);
}

function same(what: string, got: readonly unknown[], want: readonly unknown[]): void {
  if (JSON.stringify(got) !== JSON.stringify(want)) throw new Error(`${what}: ${String(got)} is not ${String(want)}`);
}

/** None rests inside one reservation when the same owner asks. */
function checkRevived(model: Model, lease: Lease): void {
  const resting = model.resting.get(keyOf(lease));
  if (resting === undefined || model.told.has(keyOf(lease))) return;
  same('revived', [lease.id, lease.address], [resting.id, resting.address]);
}

function remember(model: Model, leases: readonly Lease[]): void {
  for (const lease of leases) {
    const before = model.told.get(keyOf(lease));
    if (before !== undefined && lease.id !== before.id) throw new Error('the same owner got another lease');
    model.told.set(keyOf(lease), lease);
    if (model.resting.get(keyOf(lease))?.id === lease.id) model.resting.delete(keyOf(lease));
  }
}

function forget(model: Model, address: string): void {
  for (const known of [model.told, model.resting]) {
    for (const [key, lease] of known) if (lease.address === ip(address)) known.delete(key);
  }
}

/** A lease that rested already is not the newest. */
function rest(model: Model, lease: Lease): void {
  const before = model.resting.get(keyOf(lease));
  if (before === undefined || lease.changedAtMs > before.changedAtMs) model.resting.set(keyOf(lease), lease);
  else if (lease.changedAtMs === before.changedAtMs && lease.id > before.id) model.resting.set(keyOf(lease), lease);
}

const owner = fc.integer({ min: 0, max: OWNERS.length - 1 });
const address = fc.constantFrom(...ADDRESSES);
const job = fc.constantFrom('job-1', 'job-2');

const acquire = fc
  .record({
    owners: fc.array(owner, { minLength: 1, maxLength: 3 }),
    chosen: fc.option(address, { nil: undefined, freq: 2 }),
    mac: fc.option(fc.constantFrom(...MACS), { nil: undefined, freq: 3 }),
    ttlMs: fc.option(fc.constantFrom(MINUTE_MS, 10 * MINUTE_MS), { nil: undefined }),
    job,
  })
  .map(
    (asked) =>
      new Step(`acquire ${JSON.stringify(asked)}`, async (model, real) => {
        const claims = asked.owners.map((n, at) => claimOf(OWNERS[n]!, asked.chosen, at === 0 ? asked.mac : undefined));
        model.requests += 1;
        const id = `request-${String(model.requests)}`;
        const ask = (): Promise<readonly Lease[]> =>
          real.services.leases.acquire(claims, asked.job, asked.ttlMs, callerOf(id));
        const answer = await ask();
        if (answer.some((lease, n) => ownerKey(lease.owner) !== ownerKey(claims[n]!.owner)))
          throw new Error('mixed up');
        model.answers.set(id, { ask, answer: plain(answer) });
        if (asked.chosen === undefined) for (const lease of answer) checkRevived(model, lease);
        remember(model, answer);
      }),
  );

const change = fc.record({ verb: fc.constantFrom('bind', 'extend', 'release', 'force', 'decline'), address }).map(
  ({ verb, address }) =>
    new Step(`${verb} ${address}`, async (model, { services: { leases } }) => {
      const at = ip(address);
      if (verb === 'bind') return remember(model, await leases.bind([at], callerOf()));
      if (verb === 'extend') return remember(model, await leases.extend([at], 5 * MINUTE_MS, callerOf()));
      const left =
        verb === 'decline'
          ? [await leases.decline(at, undefined, callerOf())]
          : await leases.release([at], verb === 'force', callerOf());
      forget(model, address);
      for (const lease of left) if (lease.state === 'quarantined') rest(model, lease);
    }),
);

const claimMac = fc.record({ owner, mac: fc.constantFrom(...CLAIMED) }).map(
  ({ owner, mac }) =>
    new Step(`claim MAC ${String(mac)} by ${String(owner)}`, async (_, { services: { macs } }) => {
      await macs.claim(OWNERS[owner]!, mac, callerOf());
    }),
);

const pass = fc.record({ minutes: fc.constantFrom(1, 11, 61, 481), stopped: fc.subarray([1, 2, 3, 4]) }).map(
  ({ minutes, stopped }) =>
    new Step(`${String(minutes)} min pass, stopped: ${stopped.join()}`, async (model, { services }) => {
      const { clock, knowledge, sweeper, journal } = services;
      clock.advance(minutes * MINUTE_MS);
      knowledge.stopped.clear();
      for (const vmId of stopped) knowledge.stopped.add(vmId);
      const heldBefore = journal.read((stores) => stores.leases.list({ states: ['bound'] }, undefined, 100));
      await sweeper.sweep(clock.nowMs());
      // Inside its reservation a bound lease never ends by itself.
      const over = new Set(
        services.pools
          .list()
          .flatMap(({ reservation }) => (reservation.endsAtMs <= clock.nowMs() ? reservation.id : [])),
      );
      for (const lease of heldBefore) {
        const present = journal.read((stores) => stores.leases.findById(lease.id));
        const mayRun = lease.owner.kind === 'vif' && !stopped.includes(lease.owner.vmId);
        const want = over.has(lease.reservationId) ? (mayRun ? 'expired' : undefined) : 'bound';
        same('after its end', [present?.state], [want]);
      }
      for (const [key, lease] of model.told) {
        if (lease.state === 'pending' || over.has(lease.reservationId)) model.told.delete(key);
      }
      for (const [key, { expiresAtMs = 0 }] of model.resting) {
        if (expiresAtMs <= clock.nowMs()) model.resting.delete(key);
      }
    }),
);

const replay = fc.nat().map(
  (n) =>
    new Step(`replay ${String(n)}`, async (model, { services: { clock } }) => {
      const kept = [...model.answers.values()];
      const before = kept[n % Math.max(1, kept.length)];
      if (before === undefined || clock.nowMs() > START_MS + 24 * HOUR_MS) return;
      same('replayed answer', [plain(await before.ask())], [before.answer]);
    }),
);

const restart = fc.constant(
  new Step('restart', (_, real) => {
    const { database, clock, knowledge } = real.services;
    real.services = makeAddressServices(database, clock);
    for (const vmId of knowledge.stopped) real.services.knowledge.stopped.add(vmId);
    return Promise.resolve();
  }),
);

const START_MS = makeAddressServices().clock.nowMs();

t.test('invariants 1 and 3 hold whatever users, clock and restarts do', async (t) => {
  const commands = fc.commands([acquire, acquire, change, change, claimMac, pass, replay, restart], {
    maxCommands: 40,
    size: 'max',
  });
  const property = fc.asyncProperty(commands, async (steps) => {
    const services = makeAddressServices();
    await importBlocks(services, 'job-1', '10.144.0.0/29');
    const startsAtMs = START_MS + 8 * HOUR_MS;
    const options = { name: 'job-2', dns: [], exclusions: [], startsAtMs, endsAtMs: startsAtMs + 100 * HOUR_MS };
    await services.reservations.import({ text: '10.144.0.0/30', options, isDryRun: false }, callerOf());
    const setUp = (): { model: Model; real: Real } => ({
      model: { told: new Map(), resting: new Map(), answers: new Map(), requests: 0 },
      real: { services },
    });
    await fc.asyncModelRun(setUp, steps);
    services.database.close();
  });
  await fc.assert(property, { numRuns: 150 });
  t.pass('no counterexample');
});
