import { AppError, invalid, toAppError } from '../../../shared/errors.js';
import { admissionFromWire, admissionToWire, offerFromWire, offerToWire } from '../../../shared/grpc/live-migration.js';
import { imageSourceFromWire, installerFromWire } from '../../../shared/grpc/make-source.js';
import { shapeFromWire } from '../../../shared/grpc/vm-shape.js';
import type { HostBridges } from '../../../shared/domain/bridge.js';
import type { HostStore } from '../../../shared/domain/host-store.js';
import { formatIpv4, parseIpv4, type Ipv4 } from '../../../shared/domain/ipv4.js';
import { formatMac, parseMac } from '../../../shared/domain/mac.js';
import { checkSetting } from '../../../shared/domain/vm-setting.js';
import { parseVmName } from '../../../shared/domain/name.js';
import type * as wire from '../../../shared/gen/domherd/v1/agent.js';
import type { OpenConsole as WireConsole } from '../../../shared/gen/domherd/v1/console.js';
import type { HostStores as WireStores } from '../../../shared/gen/domherd/v1/disk.js';
import type { HostBridges as WireBridges } from '../../../shared/gen/domherd/v1/host.js';
import type { VmLook as WireLook } from '../../../shared/gen/domherd/v1/look.js';
import type { InterfaceSettings as WireSettings } from '../../../shared/gen/domherd/v1/reservation.js';
import { VmState as WireState, type VmMetrics as WireMetrics } from '../../../shared/gen/domherd/v1/vm.js';
import { storeToWire } from '../../../shared/grpc/host-store.js';
import { PROTOCOL } from '../../../shared/version.js';
import type { MakeSettings } from '../../domain/image/image-plan.js';
import type { HostEvent } from '../../domain/host-event.js';
import type { VifLease } from '../../domain/lease-record.js';
import type {
  ConsoleOrder,
  CopyOrder,
  GuestSettings,
  InterfaceSettings,
  Order,
  OrderAction,
  ReceiveOrder,
  RenameOrder,
  SetOrder,
  VifSettings,
} from '../../domain/order.js';
import type { OrderProgress, OrderResult } from '../../domain/order.js';
import type { DownMessage, FullState, Hello, StateChange, UpMessage, Welcome } from '../../domain/session-message.js';
import type { ObservedVif, ObservedVm, VmMetrics, VmState } from '../../domain/vm.js';
import type { VmLook } from '../../domain/vm-look.js';

const STATE: Readonly<Record<VmState, WireState>> = {
  unknown: WireState.UNKNOWN,
  stopped: WireState.STOPPED,
  starting: WireState.STARTING,
  running: WireState.RUNNING,
  paused: WireState.PAUSED,
  stopping: WireState.STOPPING,
  crashed: WireState.CRASHED,
};

export function helloToWire(hello: Hello): wire.AgentMessage {
  const { facts, deploymentId, sessionCounter, isSimulated, nowMs } = hello;
  const { bootId, ...wireFacts } = facts;
  const about = { deploymentId, bootId, sessionCounter, simulated: isSimulated, now: new Date(nowMs) };
  return { message: { $case: 'hello', value: { protocol: { ...PROTOCOL }, facts: wireFacts, ...about } } };
}

export function upToWire(message: UpMessage): wire.AgentMessage {
  switch (message.kind) {
    case 'fullState':
      return { message: { $case: 'fullState', value: fullStateToWire(message) } };
    case 'change':
      return { message: { $case: 'change', value: changeToWire(message.change) } };
    case 'event':
      return { message: { $case: 'event', value: eventToWire(message.event) } };
    case 'progress':
      return { message: { $case: 'progress', value: progressToWire(message.progress) } };
    case 'result':
      return { message: { $case: 'result', value: resultToWire(message.result) } };
    case 'heartbeat': {
      const { memoryFreeMib, metrics } = message.heartbeat;
      const entries = [...metrics].map(([key, value]) => [key, metricsToWire(value)] as const);
      return { message: { $case: 'heartbeat', value: { memoryFreeMib, metrics: Object.fromEntries(entries) } } };
    }
  }
}

function fullStateToWire({ vms, bridges, stores }: FullState): wire.FullState {
  return { vms: vms.map(vmToWire), bridges: bridges && bridgesToWire(bridges), stores: stores && storesToWire(stores) };
}

function changeToWire({ changed, gone, bridges, stores }: StateChange): wire.StateChange {
  const other = { bridges: bridges && bridgesToWire(bridges), stores: stores && storesToWire(stores) };
  return { changed: changed.map(vmToWire), gone: [...gone], ...other };
}

function storesToWire(stores: readonly HostStore[]): WireStores {
  return { stores: stores.map(storeToWire) };
}

function bridgesToWire({ bridges, xlBridge, xlScript }: HostBridges): WireBridges {
  const wireBridges = bridges.map(({ name, members, uplinks, addresses, isUp }) => ({
    ...{ name, members: [...members], uplinks: [...uplinks], addresses: [...addresses], up: isUp },
  }));
  return { bridges: wireBridges, xlBridge: xlBridge ?? '', xlScript: xlScript ?? '' };
}

/** @throws {AppError} `invalid` if it is no welcome */
export function welcomeFromWire({ message }: wire.ControllerMessage): Welcome {
  if (message?.$case !== 'welcome') throw invalid('The controller did not begin with a welcome');
  const { heartbeatMs, controllerVersion, now } = message.value;
  if (heartbeatMs < 100 || heartbeatMs > 60_000)
    throw invalid(`The controller wants a heartbeat each ${heartbeatMs} ms`);
  return { heartbeatMs, controllerVersion, nowMs: now?.getTime() ?? 0 };
}

/** `undefined` for what a newer controller may say. */
export function downFromWire({ message }: wire.ControllerMessage): DownMessage | undefined {
  switch (message?.$case) {
    case 'order':
      return orderFromWire(message.value);
    case 'cancel':
      return { kind: 'cancel', orderId: message.value.orderId };
    case 'leases':
      return { kind: 'leases', leases: message.value.leases.map(leaseFromWire) };
    case 'welcome':
    case undefined:
      return undefined;
  }
}

/** @throws {AppError} `invalid` if it is none */
function leaseFromWire({ cfgPath, vifIndex, address, mac, endsAt }: wire.VifLease): VifLease {
  if (cfgPath === '') throw invalid('The controller told of a lease of no VM', { field: 'cfg_path' });
  return { cfgPath, vifIndex, address: parseIpv4(address), mac: parseMac(mac), endsAtMs: endsAt?.getTime() };
}

function orderFromWire(order: wire.Order): DownMessage {
  try {
    return { kind: 'order', order: parseOrder(order) };
  } catch (error) {
    const { code, message, details } = toAppError(error);
    return {
      kind: 'malformed',
      result: { orderId: order.orderId, failure: { code, message, details }, vm: undefined },
    };
  }
}

function parseOrder({ orderId, vmKey, timeoutMs, action }: wire.Order): Order {
  if (orderId === '' || vmKey === '') throw invalid('The order names no VM, or has no id');
  if (timeoutMs < 1000 || timeoutMs > 7_200_000) throw invalid(`The order has a time limit of ${timeoutMs} ms`);
  return { orderId, vmKey, timeoutMs, action: parseAction(action) };
}

function parseAction(action: wire.Order['action']): OrderAction {
  switch (action?.$case) {
    case 'configure':
      return { kind: 'configure', ...parseGuestSettings(action.value) };
    case 'start':
      return { kind: 'start' };
    case 'shutdown':
    case 'restart': {
      const timeoutSeconds = parseTimeout(action.value.timeoutSeconds);
      return { kind: action.$case, timeoutSeconds, isDestroyedAfter: action.value.destroyAfter };
    }
    case 'destroy':
      return { kind: 'destroy' };
    case 'reboot':
      return { kind: 'reboot', timeoutSeconds: parseTimeout(action.value.timeoutSeconds) };
    case 'pause':
      return { kind: 'pause' };
    case 'unpause':
      return { kind: 'unpause' };
    case 'restoreFiles':
      return { kind: 'restoreFiles' };
    case 'copy':
      return { kind: 'copy', ...parseCopy(action.value) };
    case 'make':
      return { kind: 'make', ...parseMake(action.value) };
    case 'remove':
      return { kind: 'remove' };
    case 'set':
      return { kind: 'set', ...parseSet(action.value) };
    case 'setAutostart':
      return { kind: 'setAutostart', isOn: action.value.on };
    case 'readStores':
      return { kind: 'readStores' };
    case 'openConsole':
      return { kind: 'openConsole', ...parseConsole(action.value) };
    case 'look':
      return { kind: 'look' };
    case 'send':
      return parseSend(action.value);
    case 'receive':
      return { kind: 'receive', ...parseReceive(action.value) };
    case 'leave':
      return { kind: 'leave' };
    case 'rename':
      return { kind: 'rename', ...parseRename(action.value) };
    case 'offer':
      return { kind: 'offer', migrationId: parseMigrationId(action.value) };
    case 'admit':
      return {
        kind: 'admit',
        migrationId: parseMigrationId(action.value),
        offer: offerFromWire(action.value.offer),
      };
    case 'handOver': {
      const { offer, admission } = action.value;
      const migrationId = parseMigrationId(action.value);
      return { kind: 'handOver', migrationId, offer: offerFromWire(offer), admission: admissionFromWire(admission) };
    }
    case 'settleArrival':
      return { kind: 'settleArrival', migrationId: parseMigrationId(action.value) };
    case 'settleDeparture':
      return { kind: 'settleDeparture', migrationId: parseMigrationId(action.value), isMoved: action.value.moved };
    case undefined:
      // A newer controller; N and N-1 work together, so it knows which orders an older agent has.
      throw new AppError('invalid', 'The order asks for what this agent does not know', { hint: 'upgrade the agent' });
  }
}

function parseRename({ name, cfgPath, guest }: wire.RenameVm): RenameOrder {
  if (cfgPath === '') throw invalid('The order names no cfg', { field: 'cfg_path' });
  return { name: parseVmName(name), cfgPath, guest: parseGuestSettings(guest ?? { vifs: [], hostname: '' }) };
}

/** It is the name of a folder, and stands in commands. */
function parseMigrationId({ migrationId }: { readonly migrationId: string }): string {
  if (/^[a-z0-9]{1,64}$/.test(migrationId)) return migrationId;
  throw invalid('The order has no id of a migration', { field: 'migration_id' });
}

function parseCopy({ sourceKey, name, uuid, shape }: wire.CopyVm): CopyOrder {
  if (sourceKey === '') throw invalid('The order names no VM to copy', { field: 'source_key' });
  return { sourceKey, name: parseVmName(name), uuid, shape: shapeFromWire(shape) };
}

function parseSet({ memoryMib, vcpus, settings }: wire.SetVm): SetOrder {
  const checked = settings.map(({ key, value }) => checkSetting({ key, value }));
  return { memoryMib: memoryMib || undefined, vcpus: vcpus || undefined, settings: checked };
}

function parseConsole({ consoleId, log }: WireConsole): ConsoleOrder {
  if (!/^[\w.-]{1,64}$/.test(consoleId)) throw invalid('The order has no id for a console', { field: 'console_id' });
  return { consoleId, log: log && { lines: Math.min(Math.max(log.lines, 1), 100_000), isFollowed: log.follow } };
}

function parseMake({ name, uuid, shape, source, vif }: wire.MakeVm): MakeSettings {
  const made = { name: parseVmName(name), uuid, shape: shapeFromWire(shape), source: parseSource(source) };
  return { ...made, ...(vif && { vif: parseVif(vif) }) };
}

function parseSource(source: wire.MakeVm['source']): MakeSettings['source'] {
  switch (source?.$case) {
    case 'image':
      return imageSourceFromWire(source.value);
    case 'installer':
      return installerFromWire(source.value);
    case undefined:
      throw new AppError('invalid', 'The order makes a VM of what this agent does not know', {
        hint: 'upgrade the agent',
      });
  }
}

function parseSend({ transferId, moved, needsSeed }: wire.SendVm): OrderAction {
  return { kind: 'send', transferId, isMoved: moved, needsSeed };
}

function parseReceive({ transferId, name, uuid, shape, moved }: wire.ReceiveVm): ReceiveOrder {
  const wanted = shapeFromWire(shape);
  if (moved) return { transferId, copy: undefined, storage: wanted.storage };
  return { transferId, copy: { name: parseVmName(name), uuid, shape: wanted } };
}

function parseTimeout(timeoutSeconds: number): number {
  if (timeoutSeconds >= 1 && timeoutSeconds <= 3600) return timeoutSeconds;
  throw invalid(`The order gives the guest ${timeoutSeconds} s`);
}

function parseGuestSettings({ vifs, hostname }: wire.ConfigureVm): GuestSettings {
  return { vifs: vifs.map(parseVif), hostname: hostname === '' ? undefined : hostname };
}

function parseVif(vif: wire.ConfigureVif): VifSettings {
  if (vif.settings === undefined) throw invalid('The order has no settings for an interface', { field: 'settings' });
  return {
    index: vif.index,
    mac: parseMac(vif.mac),
    address: parseIpv4(vif.address),
    settings: parseSettings(vif.settings),
    hasDefaultRoute: vif.defaultRoute,
    leaseEndsAtMs: vif.leaseEndsAt?.getTime(),
    ...(vif.bridge !== '' && { bridge: vif.bridge }),
  };
}

function parseSettings(settings: WireSettings): InterfaceSettings {
  const { prefixLength, broadcast, gateway, dns, domain } = settings;
  if (prefixLength < 1 || prefixLength > 30) throw invalid(`The order has a prefix of /${prefixLength}`);
  return {
    prefixLength,
    broadcast: parseIpv4(broadcast),
    gateway: parseIpv4(gateway),
    dns: dns.map(parseIpv4),
    domain,
  };
}

function vmToWire(vm: ObservedVm): wire.ObservedVm {
  const { key, name, memoryMib, vcpus, vifs } = vm;
  const maybe = { cfgPath: vm.cfgPath ?? '', uuid: vm.uuid ?? '', problem: vm.problem ?? '' };
  return {
    key,
    name,
    memoryMib,
    vcpus,
    ...maybe,
    state: STATE[vm.state],
    vifs: vifs.map(vifToWire),
    hostKeys: [...(vm.hostKeys ?? [])],
    autostart: vm.isAutostarted ?? false,
  };
}

function vifToWire({ index, mac, bridge, guestAddress }: ObservedVif): wire.ObservedVif {
  return {
    index,
    mac: mac === undefined ? '' : formatMac(mac),
    bridge: bridge ?? '',
    guestAddress: textOf(guestAddress),
  };
}

function textOf(address: Ipv4 | undefined): string {
  return address === undefined ? '' : formatIpv4(address);
}

function eventToWire({ kind, message, vmKey, details }: HostEvent): wire.HostEvent {
  return { kind, message, vmKey: vmKey ?? '', details: { ...details } };
}

function progressToWire({ orderId, message, percent }: OrderProgress): wire.OrderProgress {
  return { orderId, message, percent };
}

function resultToWire({ orderId, failure, vm, warnings = [], stores, look, ...told }: OrderResult): wire.OrderResult {
  const outcome = { errorCode: failure?.code ?? '', message: failure?.message ?? '', details: { ...failure?.details } };
  const seen = { vm: vm && vmToWire(vm), stores: stores && storesToWire(stores), look: look && lookToWire(look) };
  const offer = told.offer && offerToWire(told.offer);
  const admission = told.admission && admissionToWire(told.admission);
  return { orderId, ...outcome, ...seen, warnings: [...warnings], offer, admission, again: told.isAgain ?? false };
}

function lookToWire({ cfg, disks, consoleTail, notKnown }: VmLook): WireLook {
  return {
    cfg: cfg.map(({ key, values, isList }) => ({ key, values: values.map(utf8), list: isList })),
    disks: disks.map(({ vdev, target, format, ...disk }) => ({
      ...{ vdev, target: utf8(target), format, readOnly: disk.isReadOnly },
      sizeBytes: BigInt(disk.sizeBytes),
      usedBytes: BigInt(disk.usedBytes),
      ...{ origin: disk.origin ?? '', storage: disk.storage ?? '', problem: disk.problem ?? '' },
    })),
    consoleTail: Buffer.from(consoleTail),
    notKnown: [...notKnown],
  };
}

/** Of a cfg's bytes, one character each. */
function utf8(bytes: string): string {
  return Buffer.from(bytes, 'latin1').toString('utf8');
}

function metricsToWire(metrics: VmMetrics): WireMetrics {
  return {
    sampledAt: new Date(metrics.sampledAtMs),
    cpuSeconds: metrics.cpuSeconds,
    rxBytes: BigInt(metrics.rxBytes),
    txBytes: BigInt(metrics.txBytes),
    diskReadBytes: BigInt(metrics.diskReadBytes),
    diskWrittenBytes: BigInt(metrics.diskWrittenBytes),
    cpuPercent: metrics.cpuPercent,
    memoryMib: metrics.memoryMib,
  };
}
