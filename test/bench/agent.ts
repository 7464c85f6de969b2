import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { Fleet } from '../harness/fleet.js';
import { times, type Row } from './report.js';

const VMS = 16;
/** What starting took is over by then. */
const SETTLE_MS = 15_000;
const WATCH_MS = 60_000;
/** USER_HZ, the same on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

interface Figures {
  readonly rssMib: number;
  readonly dirtyMib: number;
}

/** An agent with 16 simulated VMs that is left alone for a minute, and a Node that does nothing beside it. */
export async function agentRows(fleet: Fleet): Promise<Row[]> {
  const agent = await joinedAgent(fleet);
  const bare = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1 << 30)'], { stdio: 'ignore' });
  try {
    await delay(SETTLE_MS);
    const before = readTicks(agent);
    await delay(WATCH_MS);
    const cpuPercent = ((readTicks(agent) - before) / TICKS_PER_SECOND / (WATCH_MS / 1000)) * 100;
    return rowsOf(readFigures(agent), readFigures(bare), cpuPercent);
  } finally {
    for (const child of [agent, bare]) await end(child);
  }
}

function rowsOf(agent: Figures, bare: Figures, cpuPercent: number): Row[] {
  const what = `agent, ${VMS} simulated VMs:`;
  const mib = (value: number): string => `${value.toFixed(1)} MiB`;
  return [
    {
      what: `${what} RSS`,
      value: mib(agent.rssMib),
      anchor: `${times(agent.rssMib, bare.rssMib)} bare Node (${mib(bare.rssMib)})`,
      goal: '<= 1.3x',
    },
    {
      what: `${what} private dirty`,
      value: mib(agent.dirtyMib),
      anchor: `+${mib(agent.dirtyMib - bare.dirtyMib)} over bare Node (${mib(bare.dirtyMib)})`,
      goal: '<= +12 MiB',
    },
    { what: `${what} CPU over a minute`, value: `${cpuPercent.toFixed(2)} %`, anchor: 'one core', goal: '< 1 %' },
  ];
}

async function joinedAgent(fleet: Fleet): Promise<ChildProcess> {
  const program = join(process.cwd(), 'dist', 'agent', 'domherd-agent.mjs');
  const host = ['--state-dir', join(fleet.folder, 'bench-agent'), '--toolstack', 'sim', '--sim', `vms=${VMS}`];
  const token = await fleet.domherd(['host', 'token', 'bench-agent']);
  if (token.exitCode !== 0) throw new Error(token.stderr);
  const joining = spawn(process.execPath, [program, 'join', '--host', 'bench-agent', ...host], {
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  joining.stdin.end(token.stdout);
  const exitCode = await new Promise((resolve) => joining.once('exit', resolve));
  if (exitCode !== 0) throw new Error(`the agent did not join: ${String(exitCode)}`);
  return spawn(process.execPath, [program, 'run', ...host, '--log-level', 'error'], { stdio: 'ignore' });
}

function readFigures({ pid, exitCode }: ChildProcess): Figures {
  if (exitCode !== null) throw new Error(`it ended with ${exitCode}`);
  const text = readFileSync(`/proc/${String(pid)}/smaps_rollup`, 'utf8');
  const mibOf = (name: string): number => Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(text)?.[1]) / 1024;
  return { rssMib: mibOf('Rss'), dirtyMib: mibOf('Private_Dirty') };
}

/** User and system time: fields 14 and 15 of proc_pid_stat(5), counted from behind the name. */
function readTicks({ pid }: ChildProcess): number {
  const fields = readFileSync(`/proc/${String(pid)}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

async function end(child: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => child.once('exit', resolve));
  if (child.exitCode !== null || !child.kill('SIGTERM')) return;
  await gone;
}
