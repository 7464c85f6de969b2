import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const DIST = join(process.cwd(), 'dist');
/** A start takes well under a second; a loaded machine gets more. */
const READY_MS = 90_000;
/** Longer than any limit that a step has of its own. */
const COMMAND_MS = 120_000;

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** host:port of the controller's network listeners. */
export interface Endpoints {
  readonly listen: string;
  readonly joinListen: string;
}

/**
 * A controller and simulated dom0s as real processes of the built programs, in a temporary folder. Everything listens on
 * loopback; `stop` ends all of it and removes the folder.
 */
export class Fleet {
  readonly folder = mkdtempSync(join(tmpdir(), 'domherd-fleet-'));
  readonly #children: { readonly name: string; readonly process: ChildProcess }[] = [];
  /** As the first start bound them: agents dial the same ones after a restart. */
  #endpoints: Endpoints = { listen: '127.0.0.1:0', joinListen: '127.0.0.1:0' };

  get socket(): string {
    return join(this.folder, 'controller.sock');
  }

  get dataDir(): string {
    return join(this.folder, 'controller');
  }

  get endpoints(): Endpoints {
    return this.#endpoints;
  }

  /** Safe to call again after it ended: data, socket and ports are the same. */
  async startController(): Promise<void> {
    const { listen, joinListen } = this.#endpoints;
    const args = ['serve', '--data-dir', this.dataDir, '--socket', this.socket];
    const network = ['--listen', listen, '--join-listen', joinListen, '--advertise', '127.0.0.1'];
    await this.#start('controller', 'controller/domherd-controller.mjs', [...args, ...network], /ready/);
    this.#endpoints = JSON.parse(readFileSync(join(this.dataDir, 'endpoints.json'), 'utf8')) as Endpoints;
  }

  /**
   * Joins by a fresh token and runs.
   *
   * @param vms domUs of the tutorial's image on it
   * @param options of the simulated toolstack, KEY=VALUE
   */
  async startAgent(host: string, vms: number, options: readonly string[] = []): Promise<void> {
    const stateDir = join(this.folder, host);
    const token = await this.domherd(['host', 'token', host]);
    if (token.exitCode !== 0) throw new Error(`no token for ${host}: ${token.stderr}`);
    const simulated = simulatedHost([`vms=${String(vms)}`, ...options]);
    const joinArgs = ['join', '--host', host, '--state-dir', stateDir, ...simulated];
    const joined = await runProgram('agent/domherd-agent.mjs', joinArgs, { stdin: token.stdout });
    if (joined.exitCode !== 0) throw new Error(`${host} cannot join: ${joined.stderr}`);
    await this.#start(host, 'agent/domherd-agent.mjs', ['run', '--state-dir', stateDir, ...simulated], /session/);
  }

  /** Of a host that has joined: as it was, after {@link killAgent}. */
  async restartAgent(host: string, options: readonly string[] = []): Promise<void> {
    const args = ['run', '--state-dir', join(this.folder, host), ...simulatedHost(options)];
    await this.#start(host, 'agent/domherd-agent.mjs', args, /session/);
  }

  /** The same with this process's stderr, so that a terminal shows progress as it comes. */
  async domherdLive(args: readonly string[], stdin = ''): Promise<Omit<CommandResult, 'stderr'>> {
    const child = spawn(process.execPath, [join(DIST, 'cli/domherd.mjs'), ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, DOMHERD_SOCKET: this.socket },
      timeout: COMMAND_MS,
    });
    child.stdin.end(stdin);
    let stdout = '';
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    const exitCode = await new Promise<number>((resolve) => child.once('close', (code) => resolve(code ?? 1)));
    return { exitCode, stdout };
  }

  /** Of a program that runs: "controller", or the name of a host. */
  pidOf(name: string): number {
    const pid = this.#children.findLast((one) => one.name === name)?.process.pid;
    if (pid === undefined) throw new Error(`${name} does not run`);
    return pid;
  }

  /** SIGKILL, as a power cut for the program. */
  async killAgent(host: string): Promise<void> {
    await this.#end(host, 'SIGKILL');
  }

  /** The CLI, with this fleet's socket. */
  domherd(args: readonly string[], stdin = '', env: NodeJS.ProcessEnv = {}): Promise<CommandResult> {
    return runProgram('cli/domherd.mjs', args, { stdin, env: { DOMHERD_SOCKET: this.socket, ...env } });
  }

  /** SIGKILL, as a power cut for the program; resolves when it is gone. */
  async killController(): Promise<void> {
    await this.#end('controller', 'SIGKILL');
  }

  /** SIGTERM; resolves with its exit code when it is gone. */
  stopController(): Promise<number | null> {
    return this.#end('controller', 'SIGTERM');
  }

  /** `domherd-controller` with these arguments, until it ends by itself. */
  controller(args: readonly string[]): Promise<CommandResult> {
    return runProgram('controller/domherd-controller.mjs', args, { stdin: '' });
  }

  /** `domherd-agent join` of a host that does not run. @param token as `host token` printed it */
  join(host: string, token: string): Promise<CommandResult> {
    const args = ['join', '--host', host, '--state-dir', join(this.folder, host), '--toolstack', 'sim'];
    return runProgram('agent/domherd-agent.mjs', args, { stdin: token });
  }

  async stop(): Promise<void> {
    for (const { name } of this.#children.toReversed()) await this.#end(name, 'SIGTERM');
    rmSync(this.folder, { recursive: true, force: true });
  }

  async #end(name: string, signal: NodeJS.Signals): Promise<number | null> {
    const child = this.#children.findLast((one) => one.name === name)?.process;
    if (!child || child.exitCode !== null || child.signalCode !== null) return child?.exitCode ?? null;
    const gone = new Promise<number | null>((resolve) => child.once('exit', resolve));
    child.kill(signal);
    return gone;
  }

  /** Resolves when the program's output matches. */
  #start(name: string, program: string, args: readonly string[], ready: RegExp): Promise<void> {
    const child = spawn(process.execPath, [join(DIST, program), ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#children.push({ name, process: child });
    return new Promise((resolve, reject) => {
      let seen = '';
      const fail = (why: string): void => reject(new Error(`${name} ${why}\n${seen}`));
      const limit = setTimeout(() => fail('is not ready in time'), READY_MS);
      const read = (chunk: Buffer): void => {
        seen = (seen + chunk.toString()).slice(-10_000);
        if (ready.test(seen)) {
          clearTimeout(limit);
          resolve();
        }
      };
      child.stdout.on('data', read);
      child.stderr.on('data', read);
      child.once('exit', (code) => fail(`ended with exit code ${String(code)}`));
    });
  }
}

function simulatedHost(options: readonly string[]): readonly string[] {
  return ['--toolstack', 'sim', ...options.flatMap((option) => ['--sim', option])];
}

interface RunOptions {
  readonly stdin: string;
  readonly env?: NodeJS.ProcessEnv;
}

async function runProgram(program: string, args: readonly string[], options: RunOptions): Promise<CommandResult> {
  const running = promisify(execFile)(process.execPath, [join(DIST, program), ...args], {
    timeout: COMMAND_MS,
    env: { ...process.env, ...options.env },
    maxBuffer: 64 * 1024 * 1024,
  });
  running.child.stdin?.end(options.stdin);
  try {
    return { exitCode: 0, ...(await running) };
  } catch (error) {
    const failed = error as { code?: unknown; stdout?: string; stderr?: string };
    return {
      exitCode: typeof failed.code === 'number' ? failed.code : 1,
      stdout: failed.stdout ?? '',
      stderr: failed.stderr ?? '',
    };
  }
}
