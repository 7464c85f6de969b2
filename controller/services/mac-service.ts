import { setImmediate as nextTurn } from 'node:timers/promises';
import { formatIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';
import { formatMac, type Mac } from '../../shared/domain/mac.js';
import { notFound, wrongState } from '../../shared/errors.js';
import type { Caller } from '../domain/caller.js';
import { ownerKey, type LeaseOwner } from '../domain/lease.js';
import type { Clock, RandomSource } from '../ports/environment.js';
import type { MacEntry, MacReason, Stores, Tx } from '../ports/store.js';
import type { VmKnowledge } from '../ports/vm-knowledge.js';
import type { EventLog } from './event-log.js';
import { answerOnce } from './idempotency.js';
import type { Journal } from './journal.js';
import { MacPicker, type IsMacObservedElsewhere } from './mac-picker.js';
import type { PoolIndex } from './pool-index.js';

export interface MacServiceOptions {
  readonly journal: Journal;
  readonly events: EventLog;
  readonly pools: PoolIndex;
  readonly clock: Clock;
  readonly random: RandomSource;
  readonly knowledge: VmKnowledge;
  /** Unless told: nobody was seen with any. */
  readonly isMacObservedElsewhere?: IsMacObservedElsewhere | undefined;
}

/** A MAC for people. */
export interface MacView {
  readonly mac: Mac;
  readonly reason: MacReason;
  readonly owner: string;
  /** `undefined`: claimed without a lease. */
  readonly address: Ipv4 | undefined;
}

const PAGE = 1_000;

/** MACs: of leases, and claimed without an address. Each has one holder. */
export class MacService {
  private readonly journal: Journal;
  private readonly events: EventLog;
  private readonly clock: Clock;
  private readonly macs: MacPicker;

  constructor(options: MacServiceOptions) {
    this.journal = options.journal;
    this.events = options.events;
    this.clock = options.clock;
    this.macs = new MacPicker(options);
  }

  /** By MAC. */
  async list(): Promise<MacView[]> {
    const views: MacView[] = [];
    for (;;) {
      const page = this.journal.read((stores) => {
        const entries = stores.macs.list(views.at(-1)?.mac, PAGE);
        return entries.map((entry) => this.view(stores, entry));
      });
      views.push(...page);
      if (page.length < PAGE) return views;
      await nextTurn();
    }
  }

  /**
   * A chosen MAC, or a random one; an owner that asks again gets the same.
   *
   * @throws {AppError} `already_exists` (details `by`); `invalid` (multicast, zero); `wrong_state` (the owner has claimed
   *   another one); `exhausted` (none after 64 tries)
   */
  claim(owner: LeaseOwner, mac: Mac | undefined, caller: Caller): Promise<MacView> {
    return this.once(caller, (tx) => this.view(tx, this.claimIn(tx, owner, mac, caller)));
  }

  /** {@link claim} in the caller's transaction. */
  claimIn(tx: Tx, owner: LeaseOwner, mac: Mac | undefined, caller: Caller): MacEntry {
    const key = ownerKey(owner);
    const before = tx.macs.findClaim(key);
    if (before !== undefined) {
      if (mac === undefined || mac === before.mac) return before;
      throw claimedAnother(before.mac, mac, this.macs.describe(key));
    }
    const picked = mac === undefined ? this.macs.pick(tx, owner, undefined) : this.macs.take(tx, owner, mac);
    const nowMs = this.clock.nowMs();
    const entry = { mac: picked.mac, reason: picked.reason, owner: key, leaseId: undefined, atMs: nowMs };
    tx.macs.insert(entry);
    this.record(tx, entry, caller, 'mac.claimed', `claimed by ${this.macs.describe(key)}`);
    return entry;
  }

  /** @throws {AppError} `not_found`; `wrong_state` if it belongs to a lease */
  async release(mac: Mac, caller: Caller): Promise<void> {
    await this.once(caller, (tx) => this.releaseIn(tx, mac, caller));
  }

  /** {@link release} in the caller's transaction. */
  releaseIn(tx: Tx, mac: Mac, caller: Caller): void {
    const entry = tx.macs.find(mac);
    if (entry === undefined) throw notFound(`MAC ${formatMac(mac)} is not claimed`, { mac: formatMac(mac) });
    if (entry.leaseId !== undefined) throw leased(mac, addressOf(tx, entry));
    tx.macs.remove(mac);
    this.record(tx, entry, caller, 'mac.released', `released by ${this.macs.describe(entry.owner)}`);
  }

  private view(stores: Stores, entry: MacEntry): MacView {
    const { mac, reason, owner } = entry;
    return { mac, reason, owner: this.macs.describe(owner), address: addressOf(stores, entry) };
  }

  private record(tx: Tx, entry: MacEntry, caller: Caller, kind: string, text: string): void {
    this.events.record(tx, {
      atMs: this.clock.nowMs(),
      kind,
      message: `MAC ${formatMac(entry.mac)} ${text}`,
      actor: caller.actor,
      requestId: caller.requestId,
      mac: entry.mac,
      owner: entry.owner,
    });
  }

  private once<T>(caller: Caller, work: (tx: Tx) => T): Promise<T> {
    return this.journal.submit((tx) => answerOnce(tx, caller, this.clock.nowMs(), () => work(tx)));
  }
}

function addressOf(stores: Stores, { leaseId }: MacEntry): Ipv4 | undefined {
  return leaseId === undefined ? undefined : stores.leases.findById(leaseId)?.address;
}

function claimedAnother(has: Mac, wanted: Mac, by: string): Error {
  return wrongState(`${by} has claimed ${formatMac(has)} already, and cannot have ${formatMac(wanted)} too`, {
    mac: formatMac(has),
    by,
    hint: `release ${formatMac(has)} first`,
  });
}

function leased(mac: Mac, address: Ipv4 | undefined): Error {
  const lease = address === undefined ? 'a lease' : `the lease of ${formatIpv4(address)}`;
  return wrongState(`MAC ${formatMac(mac)} belongs to ${lease}`, {
    mac: formatMac(mac),
    ...(address !== undefined && { address: formatIpv4(address) }),
    hint: 'release the lease: its MAC goes with it',
  });
}
