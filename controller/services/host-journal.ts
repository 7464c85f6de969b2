import type { Logger } from 'pino';
import { messageOf, type AppError } from '../../shared/errors.js';
import type { NewEvent } from '../domain/event.js';
import type { Host } from '../domain/host.js';
import type { VmId } from '../domain/lease.js';
import type { HostId } from '../domain/vm.js';
import type { Clock } from '../ports/environment.js';
import type { Tx } from '../ports/store.js';
import type { EventLog } from './event-log.js';
import type { Journal } from './journal.js';

export interface HostJournalOptions {
  readonly journal: Journal;
  readonly events: EventLog;
  readonly clock: Clock;
  readonly log: Logger;
}

/** The history of hosts: comings, goings, refusals. */
export class HostJournal {
  private readonly options: HostJournalOptions;

  constructor(options: HostJournalOptions) {
    this.options = options;
  }

  connected(tx: Tx, host: Host): void {
    this.record(tx, host.name, { kind: 'host.connected', message: `host ${host.name} connected` });
  }

  clockOff(tx: Tx, host: Host): void {
    const seconds = Math.round(Math.abs(host.clockOffsetMs) / 1000);
    const direction = host.clockOffsetMs > 0 ? 'ahead of' : 'behind';
    const message = `the clock of host ${host.name} is ${seconds} s ${direction} the controller's`;
    this.record(tx, host.name, { kind: 'host.clock-off', message, details: { offsetMs: String(host.clockOffsetMs) } });
    this.options.log.warn({ host: host.name, clockOffsetMs: host.clockOffsetMs }, 'host clock is off');
  }

  /** An agent that is refused tries again and again: only the first of equal refusals is kept. */
  refused(tx: Tx, host: Host, error: AppError): void {
    const [last] = tx.events.list({ host: host.name, kinds: ['host.'] }, undefined, 1);
    if (last?.kind === 'host.refused' && last.details?.['reason'] === error.message) return;
    const message = `host ${host.name} was refused: ${error.message}`;
    this.record(tx, host.name, {
      kind: 'host.refused',
      message,
      details: { ...error.details, code: error.code, reason: error.message },
    });
    this.options.log.warn({ host: host.name, code: error.code }, 'host refused');
  }

  /** Told once for each loss, a restart of the controller in between included. */
  lost(host: Host): Promise<void> {
    return this.options.journal.submit((tx) => {
      const [last] = tx.events.list({ host: host.name, kinds: ['host.connected', 'host.lost'] }, undefined, 1);
      if (last?.kind === 'host.lost') return;
      this.record(tx, host.name, { kind: 'host.lost', message: `host ${host.name} is lost: no word from it` });
    });
  }

  report(host: string, event: Pick<NewEvent, 'kind' | 'message' | 'details'>, vmId: VmId | undefined): Promise<void> {
    return this.options.journal.submit((tx) => this.record(tx, host, { ...event, vmId }, `agent:${host}`));
  }

  /** Keeps when a host was last heard of; nobody waits for it. */
  lastSeen(hostId: HostId, atMs: number): void {
    const keep = (tx: Tx): void => {
      const host = tx.hosts.findById(hostId);
      if (host) tx.hosts.update({ ...host, lastSeenAtMs: Math.max(atMs, host.lastSeenAtMs ?? 0) });
    };
    this.options.journal.submit(keep).catch((error: unknown) => {
      this.options.log.warn({ hostId, reason: messageOf(error) }, 'last word of a host not kept');
    });
  }

  private record(
    tx: Tx,
    host: string,
    event: Pick<NewEvent, 'kind' | 'message' | 'details' | 'vmId'>,
    actor = 'controller',
  ): void {
    this.options.events.record(tx, { ...event, atMs: this.options.clock.nowMs(), actor, host });
  }
}
