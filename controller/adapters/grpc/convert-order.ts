import type {
  ConfigureVif as WireVif,
  ConfigureVm as WireConfigure,
  Order as WireOrder,
  OrderResult,
  VifLease as WireLease,
} from '../../../shared/gen/domherd/v1/agent.js';
import type { InterfaceSettings as WireSettings } from '../../../shared/gen/domherd/v1/reservation.js';
import { formatIpv4 } from '../../../shared/domain/ipv4.js';
import { formatMac } from '../../../shared/domain/mac.js';
import { admissionFromWire, admissionToWire, offerFromWire, offerToWire } from '../../../shared/grpc/live-migration.js';
import { imageSourceToWire, installerToWire } from '../../../shared/grpc/make-source.js';
import { shapeToWire } from '../../../shared/grpc/vm-shape.js';
import type { InterfaceSettings } from '../../domain/reservation.js';
import type {
  ConfigureGuest,
  ConfigureVif,
  Order,
  OrderAction,
  OrderOutcome,
  VifLease,
} from '../../ports/agent-link.js';
import { timestampFromMs } from './convert.js';
import { storesFrom } from './convert-store.js';
import { lookFrom } from './convert-look.js';
import { detailsFrom, observedVmFrom, textFrom, warningsFrom } from './convert-observation.js';

export function orderToWire(order: Order): WireOrder {
  const { orderId, vmKey, timeoutMs } = order;
  return { orderId, vmKey, timeoutMs, action: actionToWire(order.action) };
}

function actionToWire(action: OrderAction): WireOrder['action'] {
  switch (action.kind) {
    case 'configure':
      return { $case: 'configure', value: guestToWire(action) };
    case 'start':
      return { $case: 'start', value: {} };
    case 'shutdown':
    case 'restart':
      return {
        $case: action.kind,
        value: { timeoutSeconds: action.timeoutSeconds, destroyAfter: action.isDestroyedAfter },
      };
    case 'destroy':
      return { $case: 'destroy', value: {} };
    case 'reboot':
      return { $case: 'reboot', value: { timeoutSeconds: action.timeoutSeconds } };
    case 'pause':
      return { $case: 'pause', value: {} };
    case 'unpause':
      return { $case: 'unpause', value: {} };
    case 'restoreFiles':
      return { $case: 'restoreFiles', value: {} };
    case 'copy': {
      const { sourceKey, name, uuid, shape } = action;
      return { $case: 'copy', value: { sourceKey, name, uuid, shape: shapeToWire(shape) } };
    }
    case 'make': {
      const { name, uuid, shape, source, vif } = action;
      const wire =
        source.kind === 'image'
          ? ({ $case: 'image', value: imageSourceToWire(source) } as const)
          : ({ $case: 'installer', value: installerToWire(source) } as const);
      return {
        $case: 'make',
        value: { name, uuid, shape: shapeToWire(shape), source: wire, vif: vif && vifToWire(vif) },
      };
    }
    case 'remove':
      return { $case: 'remove', value: {} };
    case 'set': {
      const { memoryMib = 0, vcpus = 0, settings } = action;
      return { $case: 'set', value: { memoryMib, vcpus, settings: settings.map((setting) => ({ ...setting })) } };
    }
    case 'setAutostart':
      return { $case: 'setAutostart', value: { on: action.isOn } };
    case 'readStores':
      return { $case: 'readStores', value: {} };
    case 'look':
      return { $case: 'look', value: {} };
    case 'openConsole': {
      const { consoleId, log } = action;
      return {
        $case: 'openConsole',
        value: { consoleId, log: log && { lines: log.lines, follow: log.isFollowed } },
      };
    }
    case 'send': {
      const { transferId, isMoved, needsSeed } = action;
      return { $case: 'send', value: { transferId, moved: isMoved, needsSeed } };
    }
    case 'receive': {
      const { transferId, copy, storage } = action;
      const shape = shapeToWire(copy?.shape ?? { storage });
      const value = { transferId, name: copy?.name ?? '', uuid: copy?.uuid ?? '', shape, moved: copy === undefined };
      return { $case: 'receive', value };
    }
    case 'leave':
      return { $case: 'leave', value: {} };
    case 'rename': {
      const { name, cfgPath, guest } = action;
      return { $case: 'rename', value: { name, cfgPath, guest: guestToWire(guest) } };
    }
    case 'offer':
      return { $case: 'offer', value: { migrationId: action.migrationId } };
    case 'admit': {
      const { migrationId, offer } = action;
      return { $case: 'admit', value: { migrationId, offer: offerToWire(offer) } };
    }
    case 'handOver': {
      const { migrationId, offer, admission } = action;
      const value = { migrationId, offer: offerToWire(offer), admission: admissionToWire(admission) };
      return { $case: 'handOver', value };
    }
    case 'settleArrival':
      return { $case: 'settleArrival', value: { migrationId: action.migrationId } };
    case 'settleDeparture':
      return { $case: 'settleDeparture', value: { migrationId: action.migrationId, moved: action.isMoved } };
  }
}

function guestToWire({ vifs, hostname = '' }: ConfigureGuest): WireConfigure {
  return { vifs: vifs.map(vifToWire), hostname };
}

function vifToWire(vif: ConfigureVif): WireVif {
  return {
    index: vif.index,
    mac: formatMac(vif.mac),
    address: formatIpv4(vif.address),
    settings: settingsToWire(vif.settings),
    defaultRoute: vif.hasDefaultRoute,
    bridge: vif.bridge ?? '',
    leaseEndsAt: vif.leaseEndsAtMs === undefined ? undefined : timestampFromMs(vif.leaseEndsAtMs),
  };
}

function settingsToWire(settings: InterfaceSettings): WireSettings {
  return {
    prefixLength: settings.prefix,
    broadcast: formatIpv4(settings.broadcast),
    gateway: formatIpv4(settings.gateway),
    dns: settings.dns.map(formatIpv4),
    domain: settings.domain ?? '',
  };
}

export function vifLeaseToWire({ cfgPath, vifIndex, address, mac, endsAtMs }: VifLease): WireLease {
  return {
    cfgPath,
    vifIndex,
    address: formatIpv4(address),
    mac: formatMac(mac),
    endsAt: timestampFromMs(endsAtMs),
  };
}

/** @throws {AppError} `invalid` naming the field */
export function outcomeFrom(wire: OrderResult): OrderOutcome {
  const vm = wire.vm && observedVmFrom(wire.vm, 'result.vm');
  if (wire.errorCode === '') {
    const stores = storesFrom(wire.stores, 'result.stores');
    const look = wire.look && lookFrom(wire.look);
    return {
      kind: 'done',
      vm,
      isAgain: wire.again,
      warnings: warningsFrom(wire.warnings),
      ...(stores && { stores }),
      ...(look && { look }),
      ...(wire.offer && { offer: offerFromWire(wire.offer) }),
      ...(wire.admission && { admission: admissionFromWire(wire.admission) }),
    };
  }
  return {
    kind: 'failed',
    code: wire.errorCode,
    message: textFrom(wire.message) ?? 'the host gave no reason',
    details: detailsFrom(wire.details),
    vm,
    isAgain: wire.again,
  };
}
