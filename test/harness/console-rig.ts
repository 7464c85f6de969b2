import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import tls from 'node:tls';
import { pino } from 'pino';
import { systemClock } from '../../agent/adapters/system/system-clock.js';
import { XlConsoles } from '../../agent/adapters/xl/xl-consoles.js';
import { AgentApp } from '../../agent/app.js';
import { parseSimOptions } from '../../agent/domain/sim-option.js';
import { joinController } from '../../agent/services/joining.js';
import { openSimParts } from '../../agent/sim-parts.js';
import { nodeTimers } from '../../controller/adapters/node-timer.js';
import { machineLife, systemClock as clock, systemRandom as random } from '../../controller/adapters/system/machine.js';
import { startApp, type App } from '../../controller/app.js';
import { buildConfig, parseSettings } from '../../controller/config.js';
import { runCli, type CliOptions, type CliRun } from '../fakes/cli-run.js';
import { FakeGuest } from '../fakes/fake-guest.js';
import { FakeXenstored } from '../fakes/fake-xenstored.js';
import { until } from './fleet-cli.js';

// As each main does.
tls.DEFAULT_MIN_VERSION = 'TLSv1.3';

const NEVER = new AbortController().signal;
const HOST = 'dom0-1';

/** A command that runs, with a person at its keyboard. */
export interface Session {
  readonly keys: PassThrough;
  /** Both outputs, as they come. */
  seen: string;
  isRaw: boolean;
  readonly done: Promise<CliRun>;
}

/**
 * Controller and agent in this process, over real gRPC with mutual TLS. The agent's domains are simulated; its consoles are
 * real ptys and files, unless the simulated ones are asked for.
 */
export class ConsoleRig {
  readonly folder = mkdtempSync(join(tmpdir(), 'domherd-console-'));
  readonly logFolder = join(this.folder, 'log');
  readonly xenstored = new FakeXenstored();
  readonly #guests: FakeGuest[] = [];
  #app: App | undefined;
  #agent: AgentApp | undefined;

  static async start(hasPtys = true): Promise<ConsoleRig> {
    const rig = new ConsoleRig();
    await rig.#start(hasPtys);
    return rig;
  }

  get #socket(): string {
    return join(this.folder, 'controller.sock');
  }

  async #start(hasPtys: boolean): Promise<void> {
    const log = pino({ level: process.env['CONSOLE_TEST_LOG'] ?? 'silent' });
    mkdirSync(this.logFolder);
    const settings = { dataDir: join(this.folder, 'controller'), socket: this.#socket, advertise: ['127.0.0.1'] };
    const network = { listen: '127.0.0.1:0', joinListen: '127.0.0.1:0' };
    const config = buildConfig([parseSettings({ ...settings, ...network }, 'test')], {
      ...{ uid: 0, home: this.folder, xdgDataHome: undefined, xdgRuntimeDir: undefined },
    });
    const world = { log, clock, random, timers: nodeTimers, localName: 'me', pid: process.pid, localAddresses: [] };
    this.#app = await startApp(config, { ...world, machine: machineLife() });
    const socket = join(this.folder, 'xenstored.sock');
    await this.xenstored.listen(socket);
    const stateDir = join(this.folder, 'agent');
    const parts = await openSimParts({ stateDir, sim: parseSimOptions(['vms=2', 'boot-ms=1']), log });
    const places = { xenstoreSocket: socket, logFolder: this.logFolder, lockFolder: this.folder };
    const consoles = new XlConsoles({ ...places, pidFiles: [], procFolder: '/proc' }, systemClock);
    await joinController((await this.cli(`host token ${HOST}`)).out, HOST, parts, NEVER);
    this.#agent = new AgentApp({ ...parts, ...(hasPtys && { consoles }) });
    await this.#agent.start(NEVER);
    await until(async () => (await this.cli('vm list')).out.includes('domU2'), `the VMs of ${HOST}`);
  }

  /** @param command separated by single blanks */
  cli(command: string, options: CliOptions = {}): Promise<CliRun> {
    return runCli(command.split(' '), { ...options, env: { DOMHERD_SOCKET: this.#socket, TERM: 'xterm' } });
  }

  /** At a terminal of 30 rows and 100 columns. */
  open(command: string, options: CliOptions = {}): Session {
    const keys = new PassThrough();
    const session = { keys, seen: '', isRaw: false };
    const see = (text: string): void => void (session.seen += text);
    const input = Object.assign(keys, { setRawMode: (isRaw: boolean) => (session.isRaw = isRaw) });
    const terminal = { input, isTerminal: true, rows: 30, columns: 100, onOutput: see, onError: see };
    return Object.assign(session, { done: this.cli(command, { ...terminal, ...options }) });
  }

  /** Starts the VM, with a guest of that console. */
  async boot(name: string, domid: number): Promise<FakeGuest> {
    const guest = await FakeGuest.start();
    this.#guests.push(guest);
    this.xenstored.write(`/local/domain/${domid}/name`, name);
    this.xenstored.write(`/local/domain/${domid}/console/tty`, guest.tty);
    const { exitCode, err } = await this.cli(`vm start ${name} --force`);
    if (exitCode !== 0) throw new Error(err);
    return guest;
  }

  /** As xenconsoled does. */
  writeLog(name: string, text: string | Uint8Array): void {
    writeFileSync(join(this.logFolder, `guest-${name}.log`), text);
  }

  async stopAgent(): Promise<void> {
    await this.#agent?.stop();
  }

  async stop(): Promise<void> {
    await this.stopAgent();
    await this.#app?.stop();
    await this.xenstored.close();
    await Promise.all(this.#guests.map((guest) => guest.end()));
    rmSync(this.folder, { recursive: true });
  }
}
