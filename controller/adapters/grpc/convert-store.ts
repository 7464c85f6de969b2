import { invalid } from '../../../shared/errors.js';
import type { HostStore } from '../../../shared/domain/host-store.js';
import type { HostStores as WireStores, StoresOfHost } from '../../../shared/gen/domherd/v1/disk.js';
import { storeFromWire, storeToWire } from '../../../shared/grpc/host-store.js';
import type { StoresView } from '../../services/store-query.js';
import { textFrom } from './convert-observation.js';

/** A dom0 has a few; each domU has some disks. */
const MAX_STORES = 1_024;
const MAX_DISKS = 65_536;

/** Unset is `undefined`. @throws {AppError} `invalid` naming the field, for more than any host has */
export function storesFrom(wire: WireStores | undefined, field: string): readonly HostStore[] | undefined {
  if (wire === undefined) return undefined;
  const disks = wire.stores.reduce((sum, store) => sum + store.disks.length, 0);
  if (wire.stores.length > MAX_STORES || disks > MAX_DISKS) {
    throw invalid(`${field} has more stores or disks than any host`, { field });
  }
  return wire.stores.flatMap((store) => {
    const known = storeFromWire(store);
    if (known === undefined) return [];
    const { name, type, recordedReason } = known;
    const texts = { name: textFrom(name) ?? '(no name)', type: textFrom(type) ?? '' };
    return [{ ...known, ...texts, recordedReason: textFrom(recordedReason) ?? '' }];
  });
}

export function storesToWire({ host, isSimulated, isStale, stores }: StoresView): StoresOfHost {
  const about = { host, simulated: isSimulated, stale: isStale, known: stores !== undefined };
  return { ...about, stores: (stores ?? []).map(storeToWire) };
}
