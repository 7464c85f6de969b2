import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';

const FIXTURES = join(process.cwd(), 'test', 'harness', 'dom0-jail');
const READY_MS = 30_000;

/** What a dom0 has that the jail gives it from its own folder, so that nothing of this machine changes. */
const MOUNTS = {
  opt: '/opt',
  units: '/etc/systemd/system',
  default: '/etc/default',
  local: '/usr/local',
  lib: '/var/lib',
  log: '/var/log',
  run: '/run',
} as const;

/**
 * A machine to install agents on, without one: a real sshd on a loopback port, as a process of its own in mount and PID
 * namespaces, where /opt, /etc/systemd/system, /etc/default, /usr/local, /var/lib and /run are folders below `folder`.
 * systemd is played by a script that starts and stops the agent; ssh, tar, bash and the agent are real.
 */
export class Dom0Jail {
  readonly folder: string;
  readonly name: string;
  readonly port: number;
  readonly #identity: string;
  /** Whether it shares this machine's network; else it reaches nothing, and is reached through its namespaces. */
  readonly #isConnected: boolean;
  #process: ChildProcess | undefined;

  private constructor(folder: string, name: string, port: number, identity: string, isConnected: boolean) {
    this.folder = folder;
    this.name = name;
    this.port = port;
    this.#identity = identity;
    this.#isConnected = isConnected;
  }

  /**
   * @param identity path of the private key that it lets in
   * @param agentOptions DOMHERD_AGENT_OPTS; the sim toolstack lets it pass for a dom0
   */
  static async start(
    folder: string,
    name: string,
    identity: string,
    agentOptions = '--toolstack sim --sim vms=1 --sim boot-ms=20',
    isConnected = true,
  ): Promise<Dom0Jail> {
    const jail = new Dom0Jail(folder, name, await freePort(), identity, isConnected);
    for (const part of Object.keys(MOUNTS)) mkdirSync(join(folder, part), { recursive: true });
    for (const part of ['run/sshd', 'run/systemd/system', 'local/sbin']) {
      mkdirSync(join(folder, part), { recursive: true });
    }
    for (const program of ['systemctl', 'journalctl']) {
      copyFileSync(join(FIXTURES, program), join(folder, 'local', 'sbin', program));
      chmodSync(join(folder, 'local', 'sbin', program), 0o755);
    }
    if (agentOptions !== '') {
      writeFileSync(join(folder, 'default', 'domherd-agent'), `DOMHERD_AGENT_OPTS="${agentOptions}"\n`);
    }
    jail.newHostKey();
    await jail.boot();
    return jail;
  }

  /** Another deployment, as far as ssh sees it: takes effect at the next {@link boot}. */
  newHostKey(): void {
    const path = join(this.folder, 'host_key');
    for (const file of [path, `${path}.pub`]) rmSync(file, { force: true });
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path]);
  }

  async boot(): Promise<void> {
    const config = join(this.folder, 'sshd_config');
    copyFileSync(`${this.#identity}.pub`, join(this.folder, 'authorized_keys'));
    writeFileSync(config, this.#sshdConfig());
    const mounts = Object.entries(MOUNTS).map(([part, at]) => `${join(this.folder, part)}=${at}`);
    const namespaces = ['--mount', '--pid', ...(this.#isConnected ? [] : ['--net'])];
    const args = [...namespaces, '--fork', '--kill-child', '--mount-proc', 'bash', join(FIXTURES, 'boot')];
    const booted = join(this.folder, 'booted');
    rmSync(booted, { force: true });
    this.#process = spawn('unshare', [...args, config, ...mounts], { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    this.#process.stderr?.on('data', (piece: Buffer) => (said = (said + piece.toString()).slice(-4_000)));
    const endMs = Date.now() + READY_MS;
    while (!(this.#isConnected ? await answers(this.port) : await exists(booted))) {
      if (Date.now() > endMs || this.#process.exitCode !== null) throw new Error(`no sshd for ${this.name}: ${said}`);
    }
  }

  /** Everything that runs in it ends; its files stay. */
  async stop(): Promise<void> {
    const child = this.#process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await gone;
  }

  /** Its part of a configuration for ssh. */
  sshConfig(): string {
    const lines = [...this.#way(), `IdentityFile ${this.#identity}`];
    return [`Host ${this.name}`, ...lines, 'IdentitiesOnly yes', 'IdentityAgent none', ''].join('\n  ');
  }

  /** All files, links and folders that it has of its own, sorted, with where links lead. */
  files(): readonly string[] {
    const parts = Object.keys(MOUNTS).filter((part) => part !== 'run');
    const found = execFileSync('find', [...parts, '-printf', '%p %y %m %l\\n'], { cwd: this.folder });
    const lines = found.toString().trim().split('\n');
    return lines.map((line) => line.trimEnd()).sort();
  }

  path(...parts: readonly string[]): string {
    return join(this.folder, ...parts);
  }

  /** The present agent's process id outside of the jail is unknown; inside it is this. */
  agentPid(): number | undefined {
    const path = this.path('run', 'domherd-agent.service.pid');
    return existsSync(path) ? Number(readFileSync(path, 'utf8')) : undefined;
  }

  #way(): readonly string[] {
    if (this.#isConnected) return ['HostName 127.0.0.1', `Port ${String(this.port)}`];
    const parent = String(this.#process?.pid);
    const [pid] = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').split(' ');
    const sshd = `/usr/sbin/sshd -i -f ${join(this.folder, 'sshd_config')}`;
    return [`ProxyCommand nsenter --target ${pid ?? ''} --mount --net --pid -- ${sshd}`];
  }

  #sshdConfig(): string {
    return [
      `Port ${String(this.port)}`,
      // All of loopback's addresses: a jail can stand for several machines.
      'ListenAddress 0.0.0.0',
      `HostKey ${join(this.folder, 'host_key')}`,
      `AuthorizedKeysFile ${join(this.folder, 'authorized_keys')}`,
      'PidFile none',
      'UsePAM no',
      'StrictModes no',
      'PasswordAuthentication no',
      'PermitRootLogin prohibit-password',
      'MaxStartups 100',
      'Subsystem sftp internal-sftp',
      '',
    ].join('\n');
  }
}

/** A key pair without a passphrase; returns the path of the private key. */
export function makeSshKey(path: string): string {
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', path]);
  return path;
}

export function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer();
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}

async function exists(path: string): Promise<boolean> {
  if (existsSync(path)) return true;
  await new Promise((resolve) => setTimeout(resolve, 20));
  return false;
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const settle = (does: boolean): void => {
      socket.destroy();
      // Not at once: it may take some more tries.
      if (does) resolve(true);
      else setTimeout(resolve, 50, false);
    };
    socket.once('connect', () => settle(true));
    socket.once('error', () => settle(false));
  });
}
