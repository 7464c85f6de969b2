import { AppError, wrongState } from '../../../shared/errors.js';
import type { Artefact } from './artefact.js';
import type { Dial, Dom0Facts } from './probe.js';

/** What the controller knows of the host; `undefined`: nothing. */
export interface KnownHost {
  readonly deploymentId: string;
  readonly isRevoked: boolean;
  /** Where it was told to dial; empty: what the controller advertises. */
  readonly sessionAddresses: readonly string[];
}

export interface Wanted {
  readonly host: string;
  readonly artefact: Artefact;
  readonly known: KnownHost | undefined;
  /** `upgrade` leaves identities alone. */
  readonly verb: 'add' | 'upgrade';
  /** Through which end on the dom0's loopback it dials; `undefined`: directly. */
  readonly tunnel: TunnelPorts | undefined;
  /** The controller's clock, seconds since 1970. */
  readonly nowS: number;
}

export interface TunnelPorts {
  readonly session: number;
  readonly join: number;
}

export type Dom0Step =
  | { readonly kind: 'copy'; readonly withNode: boolean; readonly nodeFrom: string }
  | { readonly kind: 'activate' }
  | { readonly kind: 'console-log' }
  | { readonly kind: 'tunnel' }
  | { readonly kind: 'join' }
  | { readonly kind: 'start' }
  | { readonly kind: 'wait' };

const MIB_KIB = 1024;
/** Logs, records, backups of cfgs. */
const VAR_KIB = 32 * MIB_KIB;
/** As the join has it: beyond that certificates make no sense. */
const MAX_CLOCK_OFFSET_S = 300;

/**
 * What is to be done to a dom0, from what was found there.
 *
 * @throws {AppError} what stands against it, before anything was changed
 */
export function planDom0(facts: Dom0Facts, wanted: Wanted): readonly Dom0Step[] {
  checkDom0(facts, wanted);
  const { artefact, tunnel, verb } = wanted;
  const isThere = facts.versions.some(({ version }) => version === artefact.version);
  const twin = facts.versions.find(({ nodeSha256 }) => nodeSha256 === artefact.nodeSha256);
  const mustActivate = !isThere || facts.current !== artefact.version || facts.unitsDiffer;
  const mustJoin = verb === 'add' && !hasWorkingIdentity(facts, wanted);
  const mustStart =
    mustActivate || mustJoin || !facts.isActive || !facts.isEnabled || facts.running !== artefact.version;
  return [
    ...(isThere ? [] : [{ kind: 'copy', withNode: twin === undefined, nodeFrom: twin?.version ?? '' } as const]),
    ...(mustActivate ? [{ kind: 'activate' } as const] : []),
    ...(facts.consoleLog === 'off' ? [{ kind: 'console-log' } as const] : []),
    ...(tunnel ? [{ kind: 'tunnel' } as const] : []),
    ...(mustJoin ? [{ kind: 'join' } as const] : []),
    ...(mustStart ? [{ kind: 'start' } as const] : []),
    { kind: 'wait' },
  ];
}

function hasWorkingIdentity({ identity }: Dom0Facts, { host, known, tunnel }: Wanted): boolean {
  if (identity === undefined || known === undefined || known.isRevoked) return false;
  const dials = tunnel === undefined ? [] : [tunnelAddress(tunnel.session)];
  // Another way to the controller is told at a join.
  if (known.sessionAddresses.join() !== dials.join()) return false;
  return identity.host === host && identity.deploymentId === known.deploymentId;
}

/** The dom0's end of a tunnel. */
export function tunnelAddress(port: number): string {
  return `127.0.0.1:${String(port)}`;
}

function checkDom0(facts: Dom0Facts, wanted: Wanted): void {
  checkRights(facts, wanted.host);
  checkMachine(facts, wanted);
  if (!isSimulated(facts)) checkXen(facts, wanted.host);
  checkSpace(facts, wanted);
  checkClock(facts, wanted);
  if (wanted.tunnel === undefined) checkDials(facts.dials, wanted.host);
}

function checkRights({ isRoot }: Dom0Facts, host: string): void {
  if (isRoot) return;
  throw new AppError('forbidden', `the user on ${host} is not root and may not become it by sudo`, {
    hint: 'use --user root (kadeploy3 -k lets your key in), or allow sudo without a password there',
  });
}

function checkMachine(facts: Dom0Facts, { host, artefact }: Wanted): void {
  if (facts.arch !== artefact.arch) {
    throw wrongState(`${host} is ${facts.arch}, the agent at hand is for ${artefact.arch}`, {
      hint: `build domherd on a machine that is ${facts.arch}, and give its archive: --artefact FILE`,
    });
  }
  if (facts.glibc === '' || isOlder(facts.glibc, artefact.glibc)) {
    const has = facts.glibc === '' ? 'no glibc' : `glibc ${facts.glibc}`;
    throw wrongState(`${host} has ${has}, Node ${artefact.node} needs ${artefact.glibc} or newer`, {
      hint: 'deploy an image that is newer: Debian 10 has glibc 2.28',
    });
  }
  if (facts.missing.length > 0 || !facts.hasSystemd) {
    const what = facts.missing.length > 0 ? facts.missing.join(', ') : 'systemd as its init';
    throw wrongState(`${host} has no ${what}`, { hint: 'install it there; domherd starts its agent by systemd' });
  }
}

/** `--toolstack sim` in /etc/default/domherd-agent: a machine to try things out on. */
function isSimulated({ agentOptions }: Dom0Facts): boolean {
  return /--toolstack[ =]sim\b/.test(agentOptions);
}

function checkXen({ xen, hasXl }: Dom0Facts, host: string): void {
  if (xen !== 'dom0') {
    const message = xen === 'other' ? `${host} runs on Xen, but is no dom0` : `${host} was not booted under Xen`;
    throw wrongState(message, { hint: 'deploy a Xen image, or boot the entry "with Xen hypervisor" of its boot menu' });
  }
  if (!hasXl) throw wrongState(`${host} has no xl`, { hint: 'on the dom0: apt-get install xen-utils' });
}

function checkSpace(facts: Dom0Facts, { host, artefact }: Wanted): void {
  const isThere = facts.versions.some(({ version }) => version === artefact.version);
  // Half as much again: the archive is unpacked beside what is there.
  const neededKib = isThere ? 0 : Math.ceil(artefact.unpackedKib * 1.5);
  const short = [
    { folder: '/opt', freeKib: facts.optFreeKib, neededKib },
    { folder: '/var/lib', freeKib: facts.varFreeKib, neededKib: VAR_KIB },
  ].find((one) => one.freeKib < one.neededKib);
  if (short === undefined) return;
  const [free, needed] = [short.freeKib, short.neededKib].map((kib) => `${String(Math.floor(kib / MIB_KIB))} MiB`);
  throw wrongState(`${host} has ${free ?? ''} free in ${short.folder}, ${needed ?? ''} are needed`, {
    hint: `free some: ssh to ${host} and look at: df -h ${short.folder}`,
  });
}

function checkClock({ nowS }: Dom0Facts, { host, nowS: ourS }: Wanted): void {
  const offsetS = nowS - ourS;
  if (Math.abs(offsetS) <= MAX_CLOCK_OFFSET_S) return;
  const direction = offsetS > 0 ? 'ahead' : 'behind';
  throw wrongState(`the clock of ${host} is ${String(Math.abs(Math.round(offsetS / 60)))} minutes ${direction}`, {
    hint: `set it, for example: chronyc makestep, or date -s @$(date +%s); certificates have times in them`,
  });
}

const DIAL_WORDS: Readonly<Record<Dial['outcome'], string>> = {
  open: 'open',
  timeout: 'no answer: a firewall is between',
  refused: 'refused: closed, or nothing listens there',
  'unknown-name': 'the dom0 cannot resolve this name',
  unreachable: 'no route',
};

/** One address of each kind is enough: the agent tries them in turn. */
export function checkDials(dials: readonly Dial[], host: string): void {
  for (const kind of ['session', 'join'] as const) {
    const mine = dials.filter((dial) => dial.kind === kind);
    if (mine.some(({ outcome }) => outcome === 'open')) continue;
    const list = mine.map((dial) => `${dial.host}:${String(dial.port)} (${DIAL_WORDS[dial.outcome]})`).join(', ');
    throw new AppError('unavailable', `${host} cannot reach the controller at ${list}`, {
      port: String(mine[0]?.port ?? ''),
      hint: mine.every(({ outcome }) => outcome === 'unknown-name') ? NAME_HINT : PORT_HINT,
    });
  }
}

const NAME_HINT =
  'start the controller with --advertise and an address, or let DNS or /etc/hosts of the dom0 know the name';
const PORT_HINT = 'open that port, start the controller with an --advertise that the dom0 reaches, or add --via ssh';

function isOlder(version: string, than: string): boolean {
  const [a = 0, b = 0] = version.split('.').map(Number);
  const [c = 0, d = 0] = than.split('.').map(Number);
  return a < c || (a === c && b < d);
}

/** For people. */
export function stepText(step: Dom0Step, { artefact }: Pick<Wanted, 'artefact'>): string {
  switch (step.kind) {
    case 'copy':
      return step.withNode
        ? `copy agent ${artefact.version} and Node ${artefact.node}`
        : `copy agent ${artefact.version}; Node ${artefact.node} is there`;
    case 'activate':
      return `make ${artefact.version} the present version, with its units`;
    case 'console-log':
      return 'have what consoles say logged, from its next boot on';
    case 'tunnel':
      return 'keep a tunnel up over ssh, for the agent to reach the controller';
    case 'join':
      return 'join, with a one-time token';
    case 'start':
      return 'start the agent';
    case 'wait':
      return 'wait until the controller sees it';
  }
}
