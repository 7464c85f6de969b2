import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { median } from './report.js';

// clush and pdsh, as they come, to one local sshd that has as many addresses of 127.1.0.0/16 as hosts are wanted. Packages:
// openssh-server, openssh-client, clustershell, pdsh. Needs root, whom that sshd lets in by a key made for it.

export interface ShellTimes {
  readonly clushMs: number;
  readonly pdshMs: number;
}

const RUNS = 3;
const LIMIT_MS = 300_000;

/** @returns milliseconds of whole processes that run `true` on every host, median */
export async function measureShells(hosts: number): Promise<ShellTimes> {
  const folder = mkdtempSync(join(tmpdir(), 'domherd-bench-sshd-'));
  const port = await freePort();
  for (const name of ['host', 'user'])
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(folder, name)]);
  writeFileSync(join(folder, 'authorized_keys'), readFileSync(join(folder, 'user.pub')));
  writeFileSync(join(folder, 'sshd_config'), configuration(folder, port, hosts));
  chmodSync(folder, 0o755);
  // Where Debian's sshd separates its privileges; the package makes it only when its service starts.
  mkdirSync('/run/sshd', { recursive: true });
  const sshd = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', join(folder, 'sshd_config')], { stdio: 'ignore' });
  try {
    await delay(1_000);
    const nodes = `127.1.0.[1-${String(hosts)}]`;
    const options = sshOptions(folder, port);
    const clush = (): number => timeRun('clush', ['-q', '-w', nodes, '-o', options.join(' '), 'true'], {});
    const pdsh = (): number =>
      timeRun('pdsh', ['-R', 'ssh', '-w', nodes, 'true'], { PDSH_SSH_ARGS: pdshArgs(options) });
    const [clushRuns, pdshRuns]: [number[], number[]] = [[], []];
    for (let run = 0; run < RUNS; run += 1) {
      clushRuns.push(clush());
      pdshRuns.push(pdsh());
    }
    return { clushMs: median(clushRuns), pdshMs: median(pdshRuns) };
  } finally {
    const gone = new Promise((resolve) => sshd.once('exit', resolve));
    // It may have ended by itself, with its reasons.
    if (sshd.exitCode === null && sshd.kill('SIGTERM')) await gone;
    rmSync(folder, { recursive: true, force: true });
  }
}

/** MaxStartups at its default drops connections when many come at once. */
function configuration(folder: string, port: number, hosts: number): string {
  return [
    `Port ${String(port)}`,
    'ListenAddress 0.0.0.0',
    `HostKey ${join(folder, 'host')}`,
    `AuthorizedKeysFile ${join(folder, 'authorized_keys')}`,
    'PermitRootLogin prohibit-password',
    'PasswordAuthentication no',
    'StrictModes no',
    'UsePAM no',
    `PidFile ${join(folder, 'pid')}`,
    `MaxStartups ${String(hosts * 2)}`,
    '',
  ].join('\n');
}

function sshOptions(folder: string, port: number): readonly string[] {
  const settings = ['StrictHostKeyChecking=no', 'UserKnownHostsFile=/dev/null', 'LogLevel=ERROR', 'BatchMode=yes'];
  return ['-F', '/dev/null', '-p', String(port), '-i', join(folder, 'user'), ...settings.map((each) => `-o${each}`)];
}

/** pdsh fills in the user and the host. */
function pdshArgs(options: readonly string[]): string {
  return [...options, '-l%u', '%h'].join(' ');
}

function timeRun(program: string, args: readonly string[], env: NodeJS.ProcessEnv): number {
  const start = performance.now();
  const { status, stderr, error } = spawnSync(program, args, {
    ...{ encoding: 'utf8' as const, timeout: LIMIT_MS },
    env: { ...process.env, ...env },
  });
  if (error !== undefined && 'code' in error && error.code === 'ENOENT')
    throw new Error(`--with-clush needs ${program}: apt-get install clustershell pdsh`);
  if (status !== 0)
    throw new Error(`${program} ended with ${String(status)}: ${error?.message ?? stderr.slice(-1_000)}`);
  return performance.now() - start;
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
