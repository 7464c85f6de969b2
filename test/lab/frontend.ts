import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { follow, run, waitFor, type CommandResult } from './command.js';
import { FRONTEND_ADDRESS, type LabNetwork } from './network.js';

const DIST = join(process.cwd(), 'dist');
/** Longer than any limit that a command of the CLI has of its own. */
const COMMAND_MS = 900_000;
const READY_MS = 60_000;
const STOP_MS = 20_000;
/** Emulated dom0s answer late: twice the usual times. */
const SETTINGS = { heartbeatMs: 20_000, lostAfterMs: 60_000 };

export interface FrontendOptions {
  /** Milliseconds; fifteen minutes unless told. */
  readonly limitMs?: number | undefined;
  readonly input?: string | undefined;
}

/** The user on the frontend: a home folder with an ssh key and known hosts, inside the site's network. */
export class Frontend {
  readonly home: string;
  readonly #network: LabNetwork;
  #controller: ChildProcess | undefined;

  constructor(home: string, network: LabNetwork) {
    this.home = home;
    this.#network = network;
  }

  /** Of programs that run as the user. */
  get env(): Readonly<Record<string, string>> {
    return {
      HOME: this.home,
      DOMHERD_DATA_DIR: join(this.home, 'controller'),
      XDG_RUNTIME_DIR: join(this.home, 'run'),
      DOMHERD_SOCKET: this.socket,
      NO_COLOR: '1',
    };
  }

  get socket(): string {
    return join(this.home, 'run', 'controller.sock');
  }

  get controllerLog(): string {
    return join(this.home, 'controller.log');
  }

  /** Any command, as the user in the site's network: ping, ssh, arping. That it fails is an answer. */
  run(argv: readonly string[], { limitMs = COMMAND_MS, input }: FrontendOptions = {}): Promise<CommandResult> {
    return run([...this.#network.enter, ...argv], { limitMs, input, env: this.env });
  }

  /** The built CLI. That it fails is an answer. */
  domherd(args: readonly string[], options: FrontendOptions = {}): Promise<CommandResult> {
    return this.run([process.execPath, join(DIST, 'cli/domherd.mjs'), ...args], options);
  }

  /** The built CLI, until the signal is aborted; it tells what it says as it comes. */
  follow(args: readonly string[], onOutput: (text: string) => void, signal: AbortSignal): Promise<unknown> {
    const argv = [...this.#network.enter, process.execPath, join(DIST, 'cli/domherd.mjs'), ...args] as const;
    return follow(argv, { env: this.env, onOutput, signal });
  }

  /** Resolves when it serves. Its data is kept from one start to the next. */
  async startController(): Promise<void> {
    if (this.isControllerRunning()) return;
    const settings = join(this.home, 'controller.json');
    writeFileSync(settings, JSON.stringify(SETTINGS));
    mkdirSync(join(this.home, 'run'), { recursive: true, mode: 0o700 });
    const log = openSync(this.controllerLog, 'a');
    const started = readFileSync(this.controllerLog).length;
    const program = join(DIST, 'controller/domherd-controller.mjs');
    const args = ['serve', '--config', settings, '--data-dir', join(this.home, 'controller'), '--socket', this.socket];
    const [enter, ...inside] = this.#network.enter;
    const child = spawn(enter, [...inside, process.execPath, program, ...args, '--advertise', FRONTEND_ADDRESS], {
      env: { ...process.env, ...this.env },
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    this.#controller = child;
    const isReady = (): Promise<boolean> => {
      const said = readFileSync(this.controllerLog).subarray(started).toString();
      if (!this.isControllerRunning()) throw new Error(`the controller ended:\n${said}`);
      return Promise.resolve(said.includes('ready'));
    };
    await waitFor('the controller', isReady, READY_MS, 100);
  }

  isControllerRunning(): boolean {
    const child = this.#controller;
    return child !== undefined && child.exitCode === null && child.signalCode === null;
  }

  /** @param signal SIGKILL is a power cut for it */
  async stopController(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const child = this.#controller;
    if (!child || !this.isControllerRunning()) return;
    child.kill(signal);
    await waitFor('the end of the controller', () => Promise.resolve(!this.isControllerRunning()), STOP_MS, 50);
  }
}
