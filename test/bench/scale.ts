import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { credentials } from '@grpc/grpc-js';
import { HostServiceClient, HostState } from '../../shared/gen/domherd/v1/host.js';
import { VmServiceClient, type VmProgress } from '../../shared/gen/domherd/v1/vm.js';
import { callStream, callUnary } from '../../shared/grpc/client.js';
import { Fleet } from '../harness/fleet.js';
import { measureShells, type ShellTimes } from './parallel-shell.js';
import { timeNode } from './command.js';
import { median, times, type Row } from './report.js';

/** `--part=10` is a tenth of all: to look at the bench itself, or on a small machine. */
const PART = Number(process.argv.find((arg) => arg.startsWith('--part='))?.slice('--part='.length) ?? 1);
const HOSTS = 1_000 / PART;
const FEW_HOSTS = 200 / PART;
const CREATE_HOSTS = 100 / PART;
const CREATE_VMS = 1_000 / PART;
const RUNS = 5;
const READY_MS = 600_000;
/** USER_HZ, the same on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100;

/** A thousand simulated dom0s at one controller, over real sessions. @param withShells clush and pdsh beside it */
export async function scaleRows(withShells: boolean): Promise<Row[]> {
  // Before anything else runs: so many ssh at once starve a thousand agents of their heartbeats.
  const shells = withShells ? await measureShells(FEW_HOSTS) : undefined;
  const fleet = new Fleet();
  const agents = new Agents();
  try {
    await fleet.startController();
    await importPool(fleet);
    await agents.start(fleet);
    const client = new VmServiceClient(`unix:${fleet.socket}`, credentials.createInsecure(), {
      'grpc.max_receive_message_length': 64 * 1024 * 1024,
    });
    try {
      return [
        ...(await orderRows(fleet, agents, client, shells)),
        ...(await createRows(fleet, agents, client)),
        ...(await listRows(fleet)),
      ];
    } finally {
      client.close();
    }
  } finally {
    await agents.stop();
    await fleet.stop();
  }
}

async function importPool(fleet: Fleet): Promise<void> {
  const network = ['--gateway', '10.183.255.254', '--prefix', '14'];
  const args = ['reservation', 'import', '-', '--name', 'scale', '--ends', '+12h', ...network];
  const imported = await fleet.domherd(args, '10.180.0.0/18\n');
  if (imported.exitCode !== 0) throw new Error(imported.stderr);
}

/** In memory: each of these dom0s would have a disk of its own. */
class Agents {
  private readonly folder = mkdtempSync(join(memoryFolder(), 'domherd-bench-'));
  private process: ChildProcess | undefined;
  /** Of the one process that all of them are in. */
  pid = 0;

  async start(fleet: Fleet): Promise<void> {
    const token = await fleet.domherd(['host', 'token', 'bench-*', '--uses', String(HOSTS * 2), '--ttl', '1h']);
    if (token.exitCode !== 0) throw new Error(token.stderr);
    const program = ['deploy/run-ts.mjs', 'test/bench/scale-agents.ts', this.folder, String(HOSTS)];
    const child = spawn(process.execPath, program, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.process = child;
    child.stdin.end(token.stdout);
    await new Promise<void>((resolve, reject) => {
      const limit = setTimeout(() => reject(new Error('the agents are not ready in time')), READY_MS);
      child.once('exit', (code) => reject(new Error(`the agents ended with ${String(code)}`)));
      child.stdout.on('data', (chunk: Buffer) => {
        const ready = /ready (\d+)/.exec(chunk.toString());
        if (!ready) return;
        clearTimeout(limit);
        this.pid = Number(ready[1]);
        resolve();
      });
    });
    await this.online(fleet);
  }

  async stop(): Promise<void> {
    const child = this.process;
    if (child?.exitCode === null) {
      const gone = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGTERM');
      await gone;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async online(fleet: Fleet): Promise<void> {
    const client = new HostServiceClient(`unix:${fleet.socket}`, credentials.createInsecure());
    for (;;) {
      const { hosts } = await callUnary(client.list.bind(client), {}, { timeoutMs: 60_000 });
      if (hosts.filter(({ state, vms }) => state === HostState.ONLINE && vms === 2).length === HOSTS) break;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    client.close();
  }
}

function memoryFolder(): string {
  try {
    readFileSync('/dev/shm/.');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EISDIR') return '/dev/shm';
  }
  return tmpdir();
}

/** @returns how long it took, in milliseconds @throws if one VM's result is a failure */
async function allDone(progress: AsyncIterable<VmProgress>, count: number): Promise<number> {
  const start = performance.now();
  let done = 0;
  for await (const { progress: each } of progress) {
    if (each?.$case !== 'result') continue;
    if (each.value.errorCode !== '') throw new Error(`${each.value.vm}@${each.value.host}: ${each.value.message}`);
    done += 1;
  }
  if (done !== count) throw new Error(`${String(done)} results of ${String(count)}`);
  return performance.now() - start;
}

function selectorOf(names: string): {
  requestId: string;
  selector: { names: string[]; all: boolean };
  dryRun: boolean;
} {
  return { requestId: randomUUID(), selector: { names: [names], all: false }, dryRun: false };
}

function hostRange(count: number): string {
  return `bench-[1-${String(count)}]`;
}

async function orderRows(
  fleet: Fleet,
  agents: Agents,
  client: VmServiceClient,
  shells: ShellTimes | undefined,
): Promise<Row[]> {
  const all = `domU2@${hostRange(HOSTS)}`;
  const address = { ...selectorOf(all), reservation: '', address: undefined, bridge: '' };
  await allDone(callStream(client.address.bind(client), address), HOSTS);
  await allDone(callStream(client.start.bind(client), { ...selectorOf(all), force: false }), HOSTS);
  const cpuNow = (): readonly number[] => [fleet.pidOf('controller'), agents.pid].map(cpuSeconds);
  const measure = async (count: number): Promise<{ ms: number; cpuMs: readonly number[] }> => {
    const runs: number[] = [];
    const before = cpuNow();
    for (let run = 0; run < RUNS; run += 1) {
      const request = selectorOf(`domU2@${hostRange(count)}`);
      runs.push(await allDone(callStream(client.pause.bind(client), request), count));
      await allDone(callStream(client.unpause.bind(client), { ...request, requestId: randomUUID() }), count);
    }
    const cpuMs = cpuNow().map((seconds, n) => ((seconds - (before[n] ?? 0)) * 1_000) / (RUNS * 2));
    return { ms: median(runs), cpuMs };
  };
  await measure(FEW_HOSTS);
  const few = await measure(FEW_HOSTS);
  const many = await measure(HOSTS);
  const row = (count: number, { ms, cpuMs }: typeof few, beside: string, goal: string): Row => ({
    what: `an order to ${count.toLocaleString('en')} simulated hosts, all answers back`,
    value: `${ms.toFixed(0)} ms`,
    anchor: `CPU: controller, agents ${cpuMs.map((each) => `${each.toFixed(0)} ms`).join(', ')}${beside}`,
    goal,
  });
  const beside = shells
    ? `; clush ${shells.clushMs.toFixed(0)} ms: ${times(shells.clushMs, few.ms)}, pdsh ${shells.pdshMs.toFixed(0)} ms: ${times(shells.pdshMs, few.ms)}`
    : '';
  return [row(FEW_HOSTS, few, beside, '>= 100x clush'), row(HOSTS, many, '', '<= 500 ms')];
}

async function createRows(fleet: Fleet, agents: Agents, client: VmServiceClient): Promise<Row[]> {
  const args = ['vm', 'create', 'web', '--count', String(CREATE_VMS), '--like', 'domU', '--memory', '64', '--no-keys'];
  const beside = new Beside(client, `domU2@bench-${String(HOSTS)}`);
  const controller = fleet.pidOf('controller');
  const cpuBefore = cpuSeconds(controller);
  const agentsCpuBefore = cpuSeconds(agents.pid);
  const start = performance.now();
  const orders = beside.run();
  const made = await fleet.domherd([...args, '--on', hostRange(CREATE_HOSTS), '-o', 'name']);
  const ms = performance.now() - start;
  const latencies = await beside.end(orders);
  if (made.exitCode !== 0) throw new Error(made.stderr.slice(-2_000));
  const cpu = cpuSeconds(controller) - cpuBefore;
  const agentsCpu = cpuSeconds(agents.pid) - agentsCpuBefore;
  const what = `${CREATE_VMS.toLocaleString('en')} VMs over ${String(CREATE_HOSTS)} simulated dom0s by one create`;
  return [
    {
      what: `${what}: controller CPU`,
      value: `${cpu.toFixed(1)} s`,
      anchor: `agents CPU ${agentsCpu.toFixed(1)} s, ${(ms / 1_000).toFixed(1)} s in all`,
      goal: '<= 5 s',
    },
    {
      what: `${what}: an order beside it, p99`,
      value: `${percentile(latencies, 0.99).toFixed(0)} ms`,
      anchor: `median ${median(latencies).toFixed(0)} ms of ${String(latencies.length)}`,
      goal: '',
    },
    {
      what: `${what}: controller's memory, peak`,
      value: `${peakMib(fleet).toFixed(0)} MiB`,
      anchor: `${HOSTS.toLocaleString('en')} hosts`,
      goal: '',
    },
  ];
}

/** Orders to one VM, one after the other, while something else goes on. */
class Beside {
  private readonly client: VmServiceClient;
  private readonly vm: string;
  private isEnded = false;

  constructor(client: VmServiceClient, vm: string) {
    this.client = client;
    this.vm = vm;
  }

  async run(): Promise<readonly number[]> {
    const latencies: number[] = [];
    while (!this.isEnded) {
      for (const verb of ['pause', 'unpause'] as const) {
        latencies.push(await allDone(callStream(this.client[verb].bind(this.client), selectorOf(this.vm)), 1));
      }
    }
    return latencies;
  }

  end(orders: Promise<readonly number[]>): Promise<readonly number[]> {
    this.isEnded = true;
    return orders;
  }
}

async function listRows(fleet: Fleet): Promise<Row[]> {
  const runs: number[] = [];
  const bare: number[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    bare.push(timeNode(['-e', '0']));
    const start = performance.now();
    const listed = await fleet.domherd(['vm', 'list', `web-[1-${String(CREATE_VMS)}]`, '--no-headers']);
    runs.push(performance.now() - start);
    const lines = listed.stdout.trimEnd().split('\n').length;
    if (lines !== CREATE_VMS) throw new Error(`${String(lines)} VMs were listed: ${listed.stderr}`);
  }
  return [
    {
      what: `domherd vm list, ${CREATE_VMS.toLocaleString('en')} of ${(CREATE_VMS + 2 * HOSTS).toLocaleString('en')} VMs`,
      value: `${median(runs).toFixed(0)} ms`,
      anchor: `a bare node ${median(bare).toFixed(0)} ms`,
      goal: '<= 400 ms',
    },
  ];
}

function percentile(values: readonly number[], part: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
}

/** User and system time: fields 14 and 15 of proc_pid_stat(5), counted from behind the name. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${String(pid)}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function peakMib(fleet: Fleet): number {
  const status = readFileSync(`/proc/${String(fleet.pidOf('controller'))}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}
