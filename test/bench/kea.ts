import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

// Debian's Kea, driven by its own perfdhcp over a veth pair between two network namespaces that are made and removed here.
// Packages: kea-dhcp4-server, kea-admin. Each DHCP exchange is one durable lease (memfile backend, persist on).

const SERVER = 'domherd-bench-kea';
const CLIENT = 'domherd-bench-dhcp';
const RUN_SECONDS = 10;

/** 4-way exchanges completed a second. @throws {Error} without root or the packages */
export async function measureKea(folder: string): Promise<number> {
  const work = join(folder, 'kea');
  mkdirSync(work, { recursive: true });
  removeNamespaces();
  try {
    makeNamespaces();
    writeFileSync(join(work, 'kea.json'), JSON.stringify(configuration(work)));
    const server = startServer(work);
    try {
      await delay(3_000);
      return driveServer();
    } finally {
      await stopServer(server);
    }
  } finally {
    removeNamespaces();
    rmSync(work, { recursive: true, force: true });
  }
}

function ip(...args: readonly string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

function makeNamespaces(): void {
  ip('netns', 'add', SERVER);
  ip('netns', 'add', CLIENT);
  ip('link', 'add', 'kea0', 'netns', SERVER, 'type', 'veth', 'peer', 'name', 'dhcp0', 'netns', CLIENT);
  ip('-n', SERVER, 'addr', 'add', '10.180.0.1/14', 'dev', 'kea0');
  ip('-n', CLIENT, 'addr', 'add', '10.180.0.2/14', 'dev', 'dhcp0');
  for (const [namespace, link] of [
    [SERVER, 'kea0'],
    [CLIENT, 'dhcp0'],
  ] as const) {
    ip('-n', namespace, 'link', 'set', 'lo', 'up');
    ip('-n', namespace, 'link', 'set', link, 'up');
  }
}

function removeNamespaces(): void {
  for (const namespace of [SERVER, CLIENT]) {
    try {
      ip('netns', 'del', namespace);
    } catch {
      // It was not there.
    }
  }
}

function configuration(work: string): unknown {
  return {
    Dhcp4: {
      'interfaces-config': { interfaces: ['kea0'], 'dhcp-socket-type': 'raw' },
      'lease-database': { type: 'memfile', persist: true, name: join(work, 'leases.csv'), 'lfc-interval': 0 },
      'valid-lifetime': 3600,
      subnet4: [{ subnet: '10.180.0.0/14', interface: 'kea0', pools: [{ pool: '10.180.1.0 - 10.183.255.200' }] }],
      loggers: [{ name: 'kea-dhcp4', severity: 'ERROR', output_options: [{ output: join(work, 'log') }] }],
    },
  };
}

function startServer(work: string): ChildProcess {
  return spawn('ip', ['netns', 'exec', SERVER, 'kea-dhcp4', '-c', join(work, 'kea.json')], {
    stdio: 'ignore',
    env: { ...process.env, KEA_PIDFILE_DIR: work, KEA_LOCKFILE_DIR: work },
  });
}

async function stopServer(server: ChildProcess): Promise<void> {
  const gone = new Promise((resolve) => server.once('exit', resolve));
  server.kill('SIGTERM');
  await gone;
}

/** As fast as it goes, for many clients; perfdhcp prints "Rate: 1234.5 4-way exchanges/second". */
function driveServer(): number {
  const args = ['-4', '-l', 'dhcp0', '-r', '20000', '-R', '200000', '-p', String(RUN_SECONDS), '-g', 'single'];
  const out = runEvenIfDropping('ip', ['netns', 'exec', CLIENT, 'perfdhcp', ...args]);
  const rate = /Rate: ([\d.]+) 4-way exchanges\/second/.exec(out)?.[1];
  if (rate === undefined) throw new Error(`perfdhcp told no rate:\n${out}`);
  return Number(rate);
}

/** perfdhcp exits 3 when packets were dropped, as they are at full speed. */
function runEvenIfDropping(program: string, args: readonly string[]): string {
  try {
    return execFileSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], timeout: 120_000 });
  } catch (error) {
    const failed = error as { status?: number; stdout?: string };
    if (failed.status === 3 && failed.stdout !== undefined) return failed.stdout;
    throw error;
  }
}
