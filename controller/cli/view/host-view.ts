import { HostState, type Host } from '../../../shared/gen/domherd/v1/host.js';
import { formatLocal, formatLocalLong } from '../local-time.js';
import { withMore, type Column, type View } from '../output.js';
import type { Colour } from '../terminal-text.js';
import { enumText, isoTime } from './enum-text.js';

function state(host: Host): string {
  return enumText(HostState, host.state);
}

/** "simulated" wherever no Xen is behind a host. */
function kind(host: Host): string {
  if (host.simulated) return 'simulated';
  return host.facts?.xenVersion ? `Xen ${host.facts.xenVersion}` : 'Xen';
}

/** How its agent reaches the controller. */
export function via({ sessionAddresses }: Host): 'ssh' | 'direct' {
  return sessionAddresses.length > 0 ? 'ssh' : 'direct';
}

const STATE_COLOUR: Readonly<Record<string, Colour>> = {
  online: 'green',
  lost: 'red',
  revoked: 'red',
  awaited: 'yellow',
};

function json(host: Host): unknown {
  return {
    id: host.id,
    name: host.name,
    state: state(host),
    simulated: host.simulated,
    joinedAt: isoTime(host.joinedAt),
    lastSeenAt: isoTime(host.lastSeenAt),
    certificateExpiresAt: isoTime(host.certificateExpiresAt),
    facts: host.facts ?? null,
    vms: host.vms,
    vmsRunning: host.vmsRunning,
    deploymentId: host.deploymentId,
    bootId: host.bootId,
    clockOffsetMs: Number(host.clockOffsetMs),
    via: via(host),
    connectedAt: isoTime(host.connectedAt),
    lastError: host.lastError || null,
  };
}

export function hostView(timeZone: string): View<Host> {
  const columns = columnsFor(timeZone);
  return { columns, wide: withMore(columns, moreFor(timeZone)), json, name: ({ name }) => name };
}

function columnsFor(timeZone: string): readonly Column<Host>[] {
  return [
    { title: 'NAME', text: ({ name }) => name },
    { title: 'STATE', text: state, colour: (host) => STATE_COLOUR[state(host)] },
    { title: 'TOOLSTACK', text: kind },
    { title: 'AGENT', text: ({ facts }) => facts?.agentVersion ?? '-' },
    { title: 'VIA', text: via },
    { title: 'VMS', text: ({ vms }) => String(vms) },
    { title: 'RUNNING', text: ({ vmsRunning }) => String(vmsRunning) },
    { title: 'CPUS', text: ({ facts }) => String(facts?.cpus ?? '-') },
    { title: 'MEMORY', text: ({ facts }) => (facts ? `${String(facts.memoryMib)} MiB` : '-') },
    {
      title: 'LAST SEEN',
      text: ({ lastSeenAt }) => (lastSeenAt ? formatLocal(lastSeenAt.getTime(), timeZone) : 'never'),
    },
    { title: 'LAST ERROR', text: ({ lastError }) => lastError, colour: () => 'red' },
  ];
}

function moreFor(timeZone: string): readonly Column<Host>[] {
  const time = (date: Date | undefined): string => (date ? formatLocal(date.getTime(), timeZone) : '-');
  return [
    { title: 'FREE', text: ({ facts }) => (facts ? `${String(facts.memoryFreeMib)} MiB` : '-') },
    { title: 'KERNEL', text: ({ facts }) => facts?.kernel ?? '-' },
    { title: 'NODE', text: ({ facts }) => facts?.nodeVersion ?? '-' },
    { title: 'CLOCK', text: ({ clockOffsetMs }) => `${String(clockOffsetMs)} ms` },
    { title: 'CONNECTED', text: ({ connectedAt }) => time(connectedAt) },
    { title: 'CERTIFICATE UNTIL', text: ({ certificateExpiresAt }) => time(certificateExpiresAt) },
    { title: 'DEPLOYMENT', text: ({ deploymentId }) => deploymentId || '-' },
  ];
}

/** @param tunnel how the host's tunnel is, where it has one */
export function hostFields(timeZone: string, tunnel = ''): readonly Column<Host>[] {
  const time = (date: Date | undefined): string => (date ? formatLocalLong(date.getTime(), timeZone) : '');
  return [
    { title: 'Name', text: ({ name }) => name },
    { title: 'State', text: state },
    { title: 'Last error', text: ({ lastError }) => lastError, colour: () => 'red' },
    { title: 'Dials', text: (host) => (via(host) === 'ssh' ? `by ssh: ${tunnel}` : 'the controller directly') },
    { title: 'Toolstack', text: kind },
    { title: 'VMs', text: (host) => `${String(host.vms)}, ${String(host.vmsRunning)} running` },
    { title: 'Agent', text: ({ facts }) => facts?.agentVersion ?? '' },
    { title: 'Node', text: ({ facts }) => facts?.nodeVersion ?? '' },
    { title: 'Kernel', text: ({ facts }) => facts?.kernel ?? '' },
    { title: 'CPUs', text: ({ facts }) => String(facts?.cpus ?? '') },
    { title: 'Memory', text: ({ facts }) => memoryText(facts) },
    { title: 'Joined', text: ({ joinedAt }) => time(joinedAt) },
    { title: 'Connected since', text: ({ connectedAt }) => time(connectedAt) },
    { title: 'Last seen', text: ({ lastSeenAt }) => time(lastSeenAt) },
    { title: 'Certificate until', text: ({ certificateExpiresAt }) => time(certificateExpiresAt) },
    { title: 'Clock off by', text: ({ clockOffsetMs }) => `${String(clockOffsetMs)} ms` },
    { title: 'Deployment', text: ({ deploymentId }) => deploymentId },
    { title: 'Boot', text: ({ bootId }) => bootId },
  ];
}

function memoryText(facts: Host['facts']): string {
  return facts ? `${String(facts.memoryMib)} MiB, ${String(facts.memoryFreeMib)} MiB free` : '';
}
