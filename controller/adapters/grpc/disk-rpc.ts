import type { DiskServiceServer } from '../../../shared/gen/domherd/v1/disk.js';
import type { StoreQuery } from '../../services/store-query.js';
import type { Handlers } from './call.js';
import { storesToWire } from './convert-store.js';
import { optionalTextFrom } from './convert.js';

export function diskHandlers(query: StoreQuery): Handlers<DiskServiceServer> {
  return {
    listStores: async ({ host }, { signal }) => {
      const views = await query.list(optionalTextFrom(host, 'host', 255), signal);
      return { hosts: views.map(storesToWire) };
    },
  };
}
