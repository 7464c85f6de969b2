import { AppError } from '../../../shared/errors.js';
import type { Answer } from './answer.js';

/** What an attempt to reach the controller from a dom0 came to. */
export interface Dial {
  readonly kind: 'session' | 'join';
  readonly host: string;
  readonly port: number;
  readonly outcome: DialOutcome;
}

export const DIAL_OUTCOMES = ['open', 'timeout', 'refused', 'unknown-name', 'unreachable'] as const;
export type DialOutcome = (typeof DIAL_OUTCOMES)[number];

export interface InstalledVersion {
  readonly version: string;
  /** Hex. */
  readonly nodeSha256: string;
}

/** What a dom0 is and has, read in one go before anything is changed. */
export interface Dom0Facts {
  readonly isRoot: boolean;
  /** As `uname -m` has it. */
  readonly arch: string;
  /** "2.36"; empty: another libc. */
  readonly glibc: string;
  readonly nodeName: string;
  /** Seconds since 1970. */
  readonly nowS: number;
  readonly hasXl: boolean;
  /** `other`: there is a Xen, and this is no dom0. */
  readonly xen: 'dom0' | 'other' | 'none';
  readonly hasSystemd: boolean;
  /** Whether its files have xenconsoled keep what consoles say; `unknown`: it has no such file. */
  readonly consoleLog: 'on' | 'off' | 'unknown';
  /** Programs that are needed and not there. */
  readonly missing: readonly string[];
  readonly optFreeKib: number;
  readonly varFreeKib: number;
  /** DOMHERD_AGENT_OPTS of /etc/default/domherd-agent. */
  readonly agentOptions: string;
  readonly versions: readonly InstalledVersion[];
  /** Where the link `current` leads; empty: none. */
  readonly current: string;
  readonly unitsDiffer: boolean;
  readonly isActive: boolean;
  readonly isEnabled: boolean;
  /** The version that runs now; empty: none, or none of ours. */
  readonly running: string;
  /** Of the identity that the agent has; `undefined`: it has not joined. */
  readonly identity: { readonly host: string; readonly deploymentId: string } | undefined;
  readonly dials: readonly Dial[];
}

/** @throws {AppError} `internal` if the probe did not come to its end */
export function parseProbe({ one, all }: Answer): Dom0Facts {
  if (one('probe') !== 'end') {
    throw new AppError('internal', 'the probe of the dom0 ended early', { hint: 'run the command again' });
  }
  const identityHost = one('identity_host');
  return {
    isRoot: one('uid') === '0',
    arch: one('arch'),
    glibc: one('glibc'),
    nodeName: one('node_name'),
    nowS: Number(one('now')),
    hasXl: one('xl') !== '',
    xen: one('xen') === 'dom0' ? 'dom0' : one('xen') === 'other' ? 'other' : 'none',
    hasSystemd: one('systemd') === 'yes',
    consoleLog: one('console_log') === 'on' ? 'on' : one('console_log') === 'off' ? 'off' : 'unknown',
    missing: one('missing').split(' ').filter(Boolean),
    optFreeKib: Number(one('opt_free_kib')),
    varFreeKib: Number(one('var_free_kib')),
    agentOptions: one('agent_options'),
    versions: all('version').map(parseVersion),
    current: one('current'),
    unitsDiffer: one('units_differ') === 'yes',
    isActive: one('active') === 'active',
    isEnabled: one('enabled') === 'enabled',
    running: one('running'),
    identity: identityHost === '' ? undefined : { host: identityHost, deploymentId: one('identity_deployment') },
    dials: all('dial').flatMap(parseDial),
  };
}

function parseVersion(text: string): InstalledVersion {
  const [version = '', nodeSha256 = ''] = text.split(' ');
  return { version, nodeSha256 };
}

function parseDial(text: string): readonly Dial[] {
  const [kind, host = '', port, result] = text.split(' ');
  const outcome = DIAL_OUTCOMES.find((known) => known === result);
  if ((kind !== 'session' && kind !== 'join') || outcome === undefined) return [];
  return [{ kind, host, port: Number(port), outcome }];
}
