import type { DiskServiceServer } from '../../../shared/gen/domherd/v1/disk.js';
import type { StoreQuery } from '../../services/store-query.js';
import type { Handlers } from './call.js';
import { storesToWire } from './convert-store.js';
import { optionalTextFrom } from './convert.js';

export function diskHandlers(query: StoreQuery): Handlers<DiskServiceServer> {
  return {
    listStores: ({ host }) => ({ hosts: query.list(optionalTextFrom(host, 'host', 255)).map(storesToWire) }),
  };
}
