import { LeaseState, type Lease, type LeaseOwner } from '../../../shared/gen/domherd/v1/lease.js';
import { formatLocal } from '../local-time.js';
import { withMore, type Column, type View } from '../output.js';
import type { Colour } from '../terminal-text.js';
import { enumText, isoTime } from './enum-text.js';

export function ownerText(owner: LeaseOwner | undefined): string {
  const one = owner?.owner;
  if (one === undefined) return '';
  if (one.$case === 'name') return one.value;
  return one.value.vm || `vm ${String(one.value.vmId)}#${String(one.value.vifIndex)}`;
}

export function leaseStateText(lease: Lease): string {
  return enumText(LeaseState, lease.state);
}

const STATE_COLOUR: Readonly<Record<string, Colour>> = {
  bound: 'green',
  pending: 'yellow',
  quarantined: 'dim',
  declined: 'red',
  expired: 'red',
};

export function leaseJson(lease: Lease): unknown {
  const owner = lease.owner?.owner;
  return {
    id: lease.id,
    reservation: lease.reservation,
    address: lease.address,
    mac: lease.mac,
    owner: ownerText(lease.owner),
    vmId: owner?.$case === 'vif' ? owner.value.vmId : null,
    vifIndex: owner?.$case === 'vif' ? owner.value.vifIndex : null,
    state: leaseStateText(lease),
    revision: lease.revision,
    createdAt: isoTime(lease.createdAt),
    changedAt: isoTime(lease.changedAt),
    expiresAt: isoTime(lease.expiresAt),
  };
}

/** @param timeZone IANA name, for the column of times */
export function leaseView(timeZone: string): View<Lease> {
  const time = (date: Date | undefined): string => (date ? formatLocal(date.getTime(), timeZone) : '-');
  const columns: readonly Column<Lease>[] = [
    { title: 'ADDRESS', text: (lease) => lease.address },
    { title: 'MAC', text: (lease) => lease.mac },
    { title: 'STATE', text: leaseStateText, colour: (lease) => STATE_COLOUR[leaseStateText(lease)] },
    { title: 'OWNER', text: (lease) => ownerText(lease.owner) },
    { title: 'RESERVATION', text: (lease) => lease.reservation },
    { title: 'UNTIL', text: ({ expiresAt }) => time(expiresAt) },
  ];
  const more: readonly Column<Lease>[] = [
    { title: 'ID', text: ({ id }) => String(id) },
    { title: 'REVISION', text: ({ revision }) => String(revision) },
    { title: 'SINCE', text: ({ createdAt }) => time(createdAt) },
    { title: 'CHANGED', text: ({ changedAt }) => time(changedAt) },
  ];
  return {
    columns,
    wide: withMore(columns, more),
    json: leaseJson,
    name: (lease) => ownerText(lease.owner),
    addresses: (lease) => [lease.address],
  };
}
