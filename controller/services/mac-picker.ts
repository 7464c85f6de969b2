import type { Ipv4 } from '../../shared/domain/ipv4.js';
import { formatMac, isMulticastMac, isZeroMac, leasedMac, type Mac } from '../../shared/domain/mac.js';
import { invalid } from '../../shared/errors.js';
import { ownerKey, parseOwnerKey, type LeaseOwner, type OwnerKey } from '../domain/lease.js';
import { chooseMac } from '../domain/mac-choice.js';
import type { RandomSource } from '../ports/environment.js';
import type { MacEntry, MacReason, Stores, Tx } from '../ports/store.js';
import type { VmKnowledge } from '../ports/vm-knowledge.js';
import { macHeld, macObserved, noMacLeft } from './lease-refusal.js';
import type { PoolIndex } from './pool-index.js';

/** Whether a VM that is not `owner` was reported with this MAC. */
export type IsMacObservedElsewhere = (mac: Mac, owner: LeaseOwner) => boolean;

export interface MacPickerOptions {
  readonly pools: PoolIndex;
  readonly random: RandomSource;
  readonly knowledge: VmKnowledge;
  /** Unless told: nobody was seen with any. */
  readonly isMacObservedElsewhere?: IsMacObservedElsewhere | undefined;
}

export interface PickedMac {
  readonly mac: Mac;
  readonly reason: MacReason;
  /** The MAC of the address, where somebody else has it. */
  readonly clash?: Mac | undefined;
}

/** Finds the MAC of a lease or a claim: one that nobody else holds or was seen with. */
export class MacPicker {
  private readonly pools: PoolIndex;
  private readonly random: RandomSource;
  private readonly knowledge: VmKnowledge;
  private readonly isObservedElsewhere: IsMacObservedElsewhere;

  constructor({ pools, random, knowledge, isMacObservedElsewhere }: MacPickerOptions) {
    this.pools = pools;
    this.random = random;
    this.knowledge = knowledge;
    this.isObservedElsewhere = isMacObservedElsewhere ?? (() => false);
  }

  /** The MAC that belongs to an address, else a random one; the caller inserts its row. @throws {AppError} `exhausted` after 64 tries */
  pick(tx: Tx, owner: LeaseOwner, address: Ipv4 | undefined): PickedMac {
    const key = ownerKey(owner);
    let ownClaim: Mac | undefined;
    const isTaken = (mac: Mac): boolean => {
      const entry = tx.macs.find(mac);
      if (entry !== undefined && !isClaimOf(entry, key)) return true;
      ownClaim = entry?.mac;
      return this.isObservedElsewhere(mac, owner);
    };
    const isPoolDerivable = (mac: Mac): boolean => this.pools.isPoolMac(mac);
    const choice = chooseMac({ address, isTaken, isPoolDerivable, randomBits: () => this.randomBits() });
    if (choice.kind === 'exhausted') throw noMacLeft(choice.tries);
    if (ownClaim === choice.mac) tx.macs.remove(choice.mac);
    return choice;
  }

  /**
   * The MAC that the caller chose.
   *
   * @throws {AppError} `invalid` for one that no interface can have; `already_exists` if another holds it or was seen with it
   */
  take(tx: Tx, owner: LeaseOwner, mac: Mac): PickedMac {
    if (isMulticastMac(mac) || isZeroMac(mac)) {
      throw invalid(`${formatMac(mac)} is no MAC that an interface can have`, {
        mac: formatMac(mac),
        hint: 'the first octet of a MAC is even, and it is not all zeros',
      });
    }
    const key = ownerKey(owner);
    const entry = tx.macs.find(mac);
    if (entry !== undefined && !isClaimOf(entry, key)) throw macHeld(mac, this.describe(entry.owner));
    if (this.isObservedElsewhere(mac, owner)) throw macObserved(mac);
    if (entry !== undefined) tx.macs.remove(mac);
    return { mac, reason: 'chosen' };
  }

  /** What {@link pick} would give for an address; `undefined`: a random one, which nobody can tell yet. */
  preview(stores: Stores, address: Ipv4): Mac | undefined {
    const mac = leasedMac(address);
    return stores.macs.find(mac) === undefined ? mac : undefined;
  }

  /** For people. */
  describe(key: OwnerKey): string {
    const owner = parseOwnerKey(key);
    return owner === undefined ? key : this.knowledge.describeOwner(owner);
  }

  private randomBits(): number {
    const [high = 0, middle = 0, low = 0] = this.random.bytes(3);
    return high * 65_536 + middle * 256 + low;
  }
}

/** An owner's claim becomes part of its lease: a MAC has one row. */
function isClaimOf(entry: MacEntry, key: OwnerKey): boolean {
  return entry.leaseId === undefined && entry.owner === key;
}
