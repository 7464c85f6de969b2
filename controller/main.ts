import { execFile } from 'node:child_process';
import { homedir } from 'node:os';
import tls from 'node:tls';
import { Command, CommanderError, Option } from 'commander';
import type { Account } from '../shared/domain/socket-path.js';
import { toAppError } from '../shared/errors.js';
import { EXIT_CODE } from '../shared/exit-code.js';
import { formatFailure } from '../shared/failure-text.js';
import { LOG_LEVELS, createLog } from '../shared/log.js';
import { VERSION } from '../shared/version.js';
import type { App } from './app.js';
import type { Config } from './config.js';

// grpc-js has no option for it; before any credential is made.
tls.DEFAULT_MIN_VERSION = 'TLSv1.3';

const PROGRAM = 'domherd-controller';
const USAGE_FAILURE = 2;
/** Answers in flight get 5 s, the journal is quick; after this something hangs. SIGKILL would lose nothing either. */
const STOP_MS = 10_000;

interface ServeFlags {
  readonly dataDir?: string;
  readonly socket?: string;
  readonly listen?: string;
  readonly joinListen?: string;
  readonly advertise?: string[];
  readonly config?: string;
  readonly logLevel?: string;
}

const EXAMPLES = `
Examples:
  ${PROGRAM} serve
  ${PROGRAM} serve --data-dir /tmp/$USER-domherd --listen 0.0.0.0:7533 --join-listen 0.0.0.0:7534
  ${PROGRAM} serve --listen off --join-listen off      only this machine, no agents
  ${PROGRAM} check-config /etc/domherd/controller.json

Settings come from defaults, then the file, then DOMHERD_DATA_DIR, DOMHERD_SOCKET, DOMHERD_LISTEN, DOMHERD_JOIN_LISTEN,
DOMHERD_ADVERTISE and DOMHERD_LOG_LEVEL, then flags: the last one wins. Logs go to stderr, one JSON object a line.
Exit codes: docs/errors.md.`;

function makeProgram(): Command {
  const program = new Command(PROGRAM)
    .description('The one owner of every address and MAC of a fleet of Xen dom0s.')
    .version(VERSION, '--version', 'print the version')
    .helpOption('-h, --help', 'print this')
    .helpCommand(false)
    .addHelpText('after', EXAMPLES)
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(usageText(text)) });
  addServe(program);
  program
    .command('check-config')
    .description('say everything that is wrong with a file of settings; exit code 2 if something is')
    .argument('<file>', 'JSON')
    .action(checkConfig);
  return program;
}

function addServe(program: Command): void {
  program
    .command('serve')
    .description('run the controller in the foreground, until SIGTERM or Ctrl-C')
    .option('--data-dir <dir>', 'database and CA; else ~/.local/share/domherd, for root /var/lib/domherd')
    .option('--socket <path>', 'the unix socket; else in $XDG_RUNTIME_DIR or under the data folder')
    .option('--listen <host:port>', 'for agents and gRPC clients with a certificate; else 0.0.0.0:7433; or "off"')
    .option('--join-listen <host:port>', 'for agents that join; else 0.0.0.0:7434; or "off"')
    .option('--advertise <host>', 'name or address that agents dial; repeatable; else all of this machine', append)
    .option('--config <file>', 'settings as JSON')
    .addOption(new Option('--log-level <level>', 'else info').choices(LOG_LEVELS))
    .addHelpText('after', EXAMPLES)
    .action(serve);
}

function append(value: string, before: readonly string[] = []): string[] {
  return [...before, value];
}

async function checkConfig(file: string): Promise<void> {
  const { readSettings } = await import('./config.js');
  readSettings(file);
  console.log(`${file}: ok`);
}

async function serve(flags: ServeFlags): Promise<void> {
  const config = await readConfig(flags);
  const log = createLog(PROGRAM, config.logLevel);
  const stopped = stopSignal();
  const [{ startApp }, machine, { nodeTimers }] = await Promise.all([
    import('./app.js'),
    import('./adapters/system/machine.js'),
    import('./adapters/node-timer.js'),
  ]);
  const app = await startApp(config, {
    log,
    clock: machine.systemClock,
    random: machine.systemRandom,
    timers: nodeTimers,
    localName: machine.userName(),
    pid: process.pid,
    machine: machine.machineLife(),
    localAddresses: machine.localAddresses(),
  });
  tellReady(app, config);
  log.info({ ...app.endpoints, version: VERSION, dataDir: config.dataDir }, 'controller ready');
  log.info({ signal: await stopped }, 'controller stopping');
  notifySystemd('STOPPING=1');
  await stopInTime(app);
  log.info('controller stopped');
}

async function readConfig(flags: ServeFlags): Promise<Config> {
  const { buildConfig, parseSettings, readEnvironment, readSettings } = await import('./config.js');
  const { config: file, ...settings } = flags;
  const fromFile = file === undefined ? [] : [readSettings(file)];
  return buildConfig([...fromFile, readEnvironment(process.env), parseSettings(settings, 'command line')], account());
}

function account(): Account {
  return {
    uid: process.getuid?.() ?? 0,
    home: homedir(),
    xdgDataHome: process.env['XDG_DATA_HOME'],
    xdgRuntimeDir: process.env['XDG_RUNTIME_DIR'],
  };
}

function tellReady({ endpoints }: App, { dataDir }: Config): void {
  const { socket, listen = 'off', joinListen = 'off' } = endpoints;
  console.log(`${PROGRAM}: ready, socket ${socket}, listen ${listen}, join ${joinListen}, data ${dataDir}`);
  notifySystemd('READY=1');
}

/** Node has no datagram sockets of unix; the unit says NotifyAccess=all for this. */
function notifySystemd(state: string): void {
  if (!process.env['NOTIFY_SOCKET']) return;
  execFile('/usr/bin/systemd-notify', [state], { timeout: 5_000 }, (error) => {
    if (error) console.error(`${PROGRAM}: systemd-notify failed: ${error.message}`);
  });
}

/** From now on the first of the two is kept; the second one finds nobody and ends the process at once. */
function stopSignal(): Promise<NodeJS.Signals> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
  });
}

async function stopInTime(app: App): Promise<void> {
  const limit = setTimeout(() => {
    console.error(`${PROGRAM}: it did not stop within ${String(STOP_MS / 1000)} s`);
    process.exit(EXIT_CODE.timeout);
  }, STOP_MS);
  await app.stop();
  clearTimeout(limit);
}

function usageText(text: string): string {
  const message = text.trim().replace(/^error: /, '');
  return `${PROGRAM}: ${message}\nhint: see ${PROGRAM} --help\n`;
}

/** @returns the exit code */
async function main(args: readonly string[]): Promise<number> {
  try {
    await makeProgram().parseAsync(args, { from: 'user' });
    return 0;
  } catch (thrown) {
    // Commander has told it already; --help and --version come this way too.
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? 0 : USAGE_FAILURE;
    const error = toAppError(thrown);
    process.stderr.write(formatFailure(PROGRAM, error, `see ${PROGRAM} --help`));
    if (error.code === 'internal') console.error(error.cause ?? error);
    return EXIT_CODE[error.code];
  }
}

// A fault that nobody foresaw: said once, and a supervisor starts anew. What was answered is on the disk.
process.on('unhandledRejection', (reason) => {
  console.error(`${PROGRAM}: unhandled rejection`, reason);
  process.exit(EXIT_CODE.internal);
});

process.exitCode = await main(process.argv.slice(2));
// Idle keep-alive connections of a probe must not hold the process.
if (process.exitCode !== 0 || process.argv.includes('serve')) process.exit();
