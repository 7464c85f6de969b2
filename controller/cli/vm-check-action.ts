import { invalid } from '../../shared/errors.js';
import { EXIT_CODE } from '../../shared/exit-code.js';
import { HostServiceClient, type BridgesOfHost } from '../../shared/gen/domherd/v1/host.js';
import { callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import { fanOut } from './fan-out.js';
import {
  refuseSsh,
  selectVms,
  withGuestSsh,
  type GuestSsh,
  type LoginOptions,
  type NamedVm,
} from './guest/guest-ssh.js';
import { check, checkInside, checkKnown, failed, insideScript, unknown, type Check } from './guest/vm-check.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printRows, type View } from './output.js';
import { pingProbe, sshProbe, type Probe } from './reach-probe.js';
import { selectorOf } from './selection.js';
import { vmAddresses, vmName } from './view/vm-view.js';

export interface CheckOptions extends LoginOptions {
  readonly all?: boolean;
  readonly max?: number;
  /** Milliseconds. */
  readonly timeout?: number;
  /** A name that guests have to resolve. */
  readonly resolve?: string;
}

interface Row extends Check {
  readonly vm: string;
}

const MAX = 32;
/** A name server that is silent takes most of it. */
const INSIDE_MS = 60_000;

const CHECK_VIEW: View<Row> = {
  columns: [
    { title: 'VM', text: ({ vm }) => vm },
    { title: 'CHECK', text: ({ name }) => name },
    {
      title: 'VERDICT',
      text: ({ verdict }) => verdict,
      colour: ({ verdict }) => (({ ok: 'green', failed: 'red', 'not checked': 'dim' }) as const)[verdict],
    },
    { title: 'NOTE', text: ({ note, hint }) => (hint === '' ? note : `${note}; ${hint}`) },
  ],
  json: ({ vm, name, verdict, note, hint }) => ({ vm, check: name, verdict, note, hint: hint === '' ? null : hint }),
};

/** What the tutorial looks at by eye. @returns 0 only if nothing failed */
export async function checkVms(call: Invocation, names: readonly string[], options: CheckOptions): Promise<number> {
  const { resolve = '' } = options;
  if (!/^(\w[\w.-]*)?$/.test(resolve))
    throw invalid(`"${resolve}" is no name to resolve`, { hint: '--resolve www.example.org' });
  const selected = await selectVms(call, selectorOf(names, options.all));
  const bridges = await bridgesByHost(call);
  const reachable = selected.filter(({ vm }) => refuseSsh(vm) === undefined);
  const rows = await withGuestSsh(call, reachable, options, async (ssh) =>
    fanOut(selected, options.max ?? MAX, async (named) => {
      const known = checkKnown(named.vm, bridges.get(named.vm.host));
      const live = reachable.includes(named) ? await checkLive(call, named, ssh, options) : [notLive(named)];
      return [...known, ...live].map((each): Row => ({ vm: vmName(named.vm), ...each }));
    }),
  );
  printRows(call, rows.flat(), CHECK_VIEW);
  return exitCodeOf(rows);
}

function notLive({ vm }: NamedVm): Check {
  return unknown('network', refuseSsh(vm) ?? '');
}

async function bridgesByHost(call: Invocation): Promise<ReadonlyMap<string, BridgesOfHost>> {
  const { hosts } = await withClient(call, HostServiceClient, (client) =>
    callUnary(client.listBridges.bind(client), { host: '' }, CALL),
  );
  return new Map(hosts.map((each) => [each.host, each]));
}

async function checkLive(
  call: Invocation,
  { vm }: NamedVm,
  ssh: GuestSsh,
  { resolve = '', timeout = INSIDE_MS }: CheckOptions,
): Promise<readonly Check[]> {
  const { exec, signal } = call.world;
  const argv = ['ssh', ...ssh.options, '-o', 'BatchMode=yes', '-T', '--', ssh.nameOf(vm.id)] as const;
  const [address = ''] = vmAddresses(vm);
  const [ping, port, inside] = await Promise.all([
    look(pingProbe(exec), address, signal),
    look(sshProbe(), address, signal),
    exec.run([argv[0], ...argv.slice(1), insideScript(resolve)], { timeoutMs: timeout, signal }),
  ]);
  const output = inside.stdout.toString();
  const isIn = /^hostname=/m.test(output);
  const said = inside.stderr.trim().split('\n').at(-1) ?? '';
  const login = isIn
    ? check('ssh login', true, 'it lets you in', '')
    : failed(
        'ssh login',
        said || `${inside.kind} of ssh`,
        'domherd keys push lets you in, where another key of yours does already',
      );
  // What is silent from here may be reached through its dom0 all the same.
  const fromHere = [reached('ping', ping, isIn), reached('ssh port', port, isIn)];
  return [...fromHere, login, ...(isIn ? checkInside(vm, output) : [unknown('inside', 'nobody could look')])];
}

function reached(name: string, reason: string | undefined, isReachedOtherwise: boolean): Check {
  if (reason === undefined) return check(name, true, 'it answers from here', '');
  if (isReachedOtherwise) return unknown(name, `${reason} from here, and ssh gets there`);
  return failed(name, reason, 'does this machine have a route to it? host add lets ssh go through the dom0');
}

async function look(probe: Probe, address: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    return await probe.look(address, signal);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function exitCodeOf(rows: readonly (readonly Row[])[]): number {
  const bad = rows.filter((each) => each.some(({ verdict }) => verdict === 'failed'));
  if (bad.length === 0) return 0;
  return bad.length < rows.length ? EXIT_CODE.partial : EXIT_CODE.wrong_state;
}
