import { createHash } from 'node:crypto';
import { formatLabels } from '../../../shared/domain/label.js';
import { LeaseState } from '../../../shared/gen/domherd/v1/lease.js';
import { VmState, type Vif, type Vm, type VmMetrics } from '../../../shared/gen/domherd/v1/vm.js';
import { formatLocalLong } from '../local-time.js';
import { withMore, type Column, type View } from '../output.js';
import type { Colour } from '../terminal-text.js';
import { bytesText } from './bytes-text.js';
import { enumText, isoTime } from './enum-text.js';
import { leaseJson, leaseStateText } from './lease-view.js';

/** NAME@HOST: what every command takes. */
export function vmName(vm: Vm): string {
  return `${vm.name}@${vm.host}`;
}

export function vmStateText(vm: Vm): string {
  return enumText(VmState, vm.state);
}

/** Addresses that are leased to its NICs, in their order; one whose lease has ended may be somebody else's tomorrow. */
export function vmAddresses(vm: Vm): readonly string[] {
  return vm.vifs.flatMap(({ lease }) => (lease && lease.state !== LeaseState.EXPIRED ? [lease.address] : []));
}

const STATE_COLOUR: Readonly<Record<string, Colour>> = {
  running: 'green',
  starting: 'yellow',
  stopping: 'yellow',
  crashed: 'red',
  unknown: 'red',
  stopped: 'dim',
};

function note({ simulated, stale, problem }: Vm): string {
  return marksOf(simulated, stale, problem);
}

function marksOf(isSimulated: boolean, isStale: boolean, problem = ''): string {
  const marks = [isSimulated ? 'simulated' : '', isStale ? 'last seen' : '', problem];
  return marks.filter((mark) => mark !== '').join(', ');
}

export function vmJson(vm: Vm): unknown {
  return {
    id: vm.id,
    name: vm.name,
    host: vm.host,
    state: vmStateText(vm),
    simulated: vm.simulated,
    stale: vm.stale,
    problem: vm.problem,
    cfgPath: vm.cfgPath,
    uuid: vm.uuid,
    memoryMib: vm.memoryMib,
    vcpus: vm.vcpus,
    observedAt: isoTime(vm.observedAt),
    vifs: vm.vifs.map(vifJson),
    hostKeys: vm.hostKeys,
    labels: vm.labels,
    autostart: vm.autostart,
    metrics: vm.metrics
      ? {
          sampledAt: isoTime(vm.metrics.sampledAt),
          cpuSeconds: vm.metrics.cpuSeconds,
          cpuPercent: vm.metrics.cpuPercent ?? null,
          memoryMib: vm.metrics.memoryMib,
          rxBytes: Number(vm.metrics.rxBytes),
          txBytes: Number(vm.metrics.txBytes),
          diskReadBytes: Number(vm.metrics.diskReadBytes),
          diskWrittenBytes: Number(vm.metrics.diskWrittenBytes),
        }
      : null,
  };
}

function vifJson(vif: Vif): unknown {
  return {
    index: vif.index,
    mac: vif.mac,
    bridge: vif.bridge,
    guestAddress: vif.guestAddress,
    lease: vif.lease ? leaseJson(vif.lease) : null,
  };
}

const COLUMNS: readonly Column<Vm>[] = [
  { title: 'ID', text: ({ id }) => String(id) },
  { title: 'NAME', text: ({ name }) => name },
  { title: 'HOST', text: ({ host }) => host },
  { title: 'STATE', text: vmStateText, colour: (vm) => STATE_COLOUR[vmStateText(vm)] },
  { title: 'ADDRESS', text: (vm) => vmAddresses(vm).join(' ') || '-' },
  { title: 'MAC', text: ({ vifs }) => vifs.map(({ mac }) => mac || '-').join(' ') || '-' },
  { title: 'MEMORY', text: ({ memoryMib }) => `${String(memoryMib)} MiB` },
  { title: 'VCPUS', text: ({ vcpus }) => String(vcpus) },
  { title: 'NOTE', text: note },
];

const MORE_COLUMNS: readonly Column<Vm>[] = [
  { title: 'CPU', text: ({ metrics }) => percentText(metrics) },
  { title: 'MEMORY NOW', text: ({ metrics }) => (metrics?.memoryMib ? `${String(metrics.memoryMib)} MiB` : '-') },
  { title: 'NET IN', text: ({ metrics }) => (metrics ? bytesText(metrics.rxBytes) : '-') },
  { title: 'NET OUT', text: ({ metrics }) => (metrics ? bytesText(metrics.txBytes) : '-') },
  { title: 'BRIDGE', text: ({ vifs }) => vifs.map(({ bridge }) => bridge || '-').join(' ') || '-' },
  { title: 'RESERVATION', text: reservationText },
  { title: 'LABELS', text: labelsText },
  { title: 'UUID', text: ({ uuid }) => uuid || '-' },
  { title: 'AUTOSTART', text: ({ autostart }) => (autostart ? 'on' : '-') },
  { title: 'CFG', text: ({ cfgPath }) => cfgPath || '-' },
];

export const VM_VIEW: View<Vm> = {
  columns: COLUMNS,
  wide: withMore(COLUMNS, MORE_COLUMNS),
  json: vmJson,
  name: vmName,
  addresses: vmAddresses,
};

/** What stands behind a change of labels. */
export const LABEL_VIEW: View<Vm> = {
  columns: [
    { title: 'VM', text: vmName },
    { title: 'LABELS', text: labelsText },
  ],
  json: vmJson,
  name: vmName,
  addresses: vmAddresses,
};

function labelsText({ labels }: Vm): string {
  return formatLabels(labels) || '-';
}

function percentText(metrics: VmMetrics | undefined): string {
  return metrics?.cpuPercent === undefined ? '-' : `${metrics.cpuPercent.toFixed(1)} %`;
}

/** Whose addresses it has, each once. */
function reservationText({ vifs }: Vm): string {
  return [...new Set(vifs.flatMap(({ lease }) => (lease ? [lease.reservation] : [])))].join(' ') || '-';
}

/** A line for each NIC. */
export function vmFields({ vifs, hostKeys }: Vm, timeZone: string): readonly Column<Vm>[] {
  return [
    { title: 'Name', text: vmName },
    { title: 'Id', text: ({ id }) => String(id) },
    { title: 'State', text: vmStateText },
    { title: 'Note', text: ({ simulated, stale }) => marksOf(simulated, stale) },
    { title: 'Problem', text: ({ problem }) => problem, colour: () => 'red' },
    { title: 'Cfg', text: ({ cfgPath }) => cfgPath },
    {
      title: 'Autostart',
      text: ({ autostart }) => (autostart ? 'when its host boots, while its leases are live' : ''),
    },
    { title: 'UUID', text: ({ uuid }) => uuid },
    { title: 'Memory', text: memoryText },
    { title: 'VCPUs', text: ({ vcpus }) => String(vcpus) },
    { title: 'Labels', text: ({ labels }) => formatLabels(labels) },
    ...vifs.map((vif): Column<Vm> => ({ title: `NIC ${String(vif.index)}`, text: () => vifText(vif) })),
    ...hostKeys.map((key): Column<Vm> => ({ title: 'Host key', text: () => hostKeyText(key) })),
    { title: 'CPU', text: ({ metrics }) => (metrics ? cpuText(metrics) : '') },
    {
      title: 'Network',
      text: ({ metrics }) => (metrics ? `${bytesText(metrics.rxBytes)} in, ${bytesText(metrics.txBytes)} out` : ''),
    },
    {
      title: 'Disk',
      text: ({ metrics }) =>
        metrics ? `${bytesText(metrics.diskReadBytes)} read, ${bytesText(metrics.diskWrittenBytes)} written` : '',
    },
    {
      title: 'Observed',
      text: ({ observedAt }) => (observedAt ? formatLocalLong(observedAt.getTime(), timeZone) : ''),
    },
  ];
}

/** As `ssh-keygen -l` prints it. */
function hostKeyText(key: string): string {
  const [type = '', blob = ''] = key.split(' ');
  const hash = createHash('sha256').update(Buffer.from(blob, 'base64')).digest('base64');
  return `${type} SHA256:${hash.replace(/=+$/, '')}`;
}

/** Ballooning makes it another than the cfg's. */
function memoryText({ memoryMib, metrics }: Vm): string {
  const now = metrics?.memoryMib ?? 0;
  return `${String(memoryMib)} MiB${now === 0 || now === memoryMib ? '' : `, ${String(now)} MiB now`}`;
}

function cpuText({ cpuSeconds, cpuPercent }: VmMetrics): string {
  const used = `${cpuSeconds.toFixed(1)} s used`;
  return cpuPercent === undefined ? used : `${cpuPercent.toFixed(1)} % of one CPU, ${used}`;
}

function vifText(vif: Vif): string {
  const { lease, guestAddress } = vif;
  const leased = lease ? `lease ${lease.address} (${leaseStateText(lease)}, of ${lease.reservation})` : 'no lease';
  const guest = guestAddress && guestAddress !== lease?.address ? `, guest has ${guestAddress}` : '';
  const mac = lease && lease.mac !== vif.mac ? `, its MAC would be ${lease.mac}` : '';
  return `${vif.mac || 'no MAC'} on ${vif.bridge || 'no bridge of its own'}, ${leased}${guest}${mac}`;
}
