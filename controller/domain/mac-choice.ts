import type { Ipv4 } from '../../shared/domain/ipv4.js';
import { isMulticastMac, isZeroMac, leasedMac, xenMacFromBits, type Mac } from '../../shared/domain/mac.js';

export interface MacRequest {
  /** The leased address, if the vif has one: its MAC is asked for first. */
  readonly address?: Ipv4 | undefined;
  /** The MAC of the cfg, asked for if there is no address. */
  readonly kept?: Mac | undefined;
  /** Whether another vif, in the fleet or in the cfgs of the same dom0, has it. */
  readonly isTaken: (mac: Mac) => boolean;
  /** Whether it is the leased MAC of an address of a known pool, which may be leased later. */
  readonly isPoolDerivable: (mac: Mac) => boolean;
  /** 24 random bits from the kernel: 0 to 2**24 - 1. */
  readonly randomBits: () => number;
  /** Draws before giving up; 64 unless told. */
  readonly maxTries?: number | undefined;
}

export type MacChoice =
  | {
      readonly kind: 'chosen';
      readonly mac: Mac;
      readonly reason: 'leased' | 'kept' | 'random';
      /** The MAC that was asked for first and that another vif has. */
      readonly clash?: Mac;
    }
  | { readonly kind: 'exhausted'; readonly tries: number };

const MAX_TRIES = 64;

/**
 * The MAC of a vif, by the first mode that applies: that of its leased address, the one it has, a random one of Xen's
 * OUI. One that is taken falls to random and is named as `clash`.
 *
 * @throws {AppError} `invalid` if `randomBits` gives no 24-bit number
 */
export function chooseMac(request: MacRequest): MacChoice {
  const wanted = wantedMac(request);
  if (wanted === undefined) return randomMac(request, undefined);
  if (request.isTaken(wanted.mac)) return randomMac(request, wanted.mac);
  return { kind: 'chosen', ...wanted };
}

function wantedMac(request: MacRequest): { mac: Mac; reason: 'leased' | 'kept' } | undefined {
  if (request.address !== undefined) return { mac: leasedMac(request.address), reason: 'leased' };
  const kept = request.kept;
  if (kept === undefined || isMulticastMac(kept) || isZeroMac(kept)) return undefined;
  return { mac: kept, reason: 'kept' };
}

function randomMac(request: MacRequest, clash: Mac | undefined): MacChoice {
  const maxTries = request.maxTries ?? MAX_TRIES;
  for (let tries = 0; tries < maxTries; tries++) {
    const mac = xenMacFromBits(request.randomBits());
    if (request.isTaken(mac) || request.isPoolDerivable(mac)) continue;
    return { kind: 'chosen', mac, reason: 'random', ...(clash !== undefined && { clash }) };
  }
  return { kind: 'exhausted', tries: maxTries };
}
