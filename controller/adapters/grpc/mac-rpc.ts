import { formatIpv4 } from '../../../shared/domain/ipv4.js';
import { formatMac } from '../../../shared/domain/mac.js';
import {
  MacReason as WireReason,
  type MacEntry as WireEntry,
  type MacServiceServer,
} from '../../../shared/gen/domherd/v1/mac.js';
import { parseLeaseOwnerName } from '../../domain/owner-name.js';
import type { MacReason } from '../../ports/store.js';
import type { MacService, MacView } from '../../services/mac-service.js';
import type { Handlers } from './call.js';
import { inField, macFrom, optionalMacFrom } from './convert.js';

const REASONS: Readonly<Record<MacReason, WireReason>> = {
  leased: WireReason.LEASED,
  kept: WireReason.KEPT,
  random: WireReason.RANDOM,
  chosen: WireReason.CHOSEN,
};

export function macHandlers(service: MacService): Handlers<MacServiceServer> {
  return {
    list: async () => ({ macs: (await service.list()).map(toWire) }),

    claim: async (request, { caller }) => {
      const name = inField('owner_name', () => parseLeaseOwnerName(request.ownerName));
      const view = await service.claim({ kind: 'name', name }, optionalMacFrom(request.mac, 'mac'), caller);
      return { mac: toWire(view) };
    },

    release: async ({ mac }, { caller }) => {
      await service.release(macFrom(mac, 'mac'), caller);
      return {};
    },
  };
}

function toWire({ mac, reason, owner, address }: MacView): WireEntry {
  return {
    mac: formatMac(mac),
    reason: REASONS[reason],
    owner,
    address: address === undefined ? '' : formatIpv4(address),
  };
}
