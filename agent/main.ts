import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { CommanderError } from 'commander';
import type { Logger } from 'pino';
import { AppError, invalid, toAppError } from '../shared/errors.js';
import { EXIT_CODE } from '../shared/exit-code.js';
import { formatFailure } from '../shared/failure-text.js';
import type { LogLevel } from '../shared/log-level.js';
import type { AgentParts } from './app.js';
import {
  createProgram,
  type BootCommandOptions,
  type CommonOptions,
  type GateOptions,
  type HostOptions,
} from './program.js';

// Each command loads what it needs when it runs: the boot step has no use for gRPC and TLS, and the domUs wait for it.

/** Of a command that did what it could. */
let exitCode = 0;
/** Something still holds the process, though all work is done. */
const EXIT_ANYWAY_MS = 1500;

async function openLog(logLevel: LogLevel): Promise<Logger> {
  const { createLog } = await import('../shared/log.js');
  return createLog('domherd-agent', logLevel);
}

/** What speaks to a controller. @param isAlone whether the state folder is locked: `join` may come while the agent runs */
async function openParts(options: HostOptions, log: Logger, isAlone: boolean): Promise<AgentParts> {
  const { default: tls } = await import('node:tls');
  // grpc-js has no option for it; before any credential is made.
  tls.DEFAULT_MIN_VERSION = 'TLSv1.3';
  const stateDir = resolve(options.stateDir);
  const build = process.env['DOMHERD_BUILD'];
  if (options.toolstack.kind === 'sim') {
    const { openSimParts } = await import('./sim-parts.js');
    return openSimParts({ stateDir, sim: options.toolstack.sim, log, build });
  }
  const { openXlParts } = await import('./xl-parts.js');
  const { createExec, createFollow } = await import('../shared/exec.js');
  const { usualPlaces } = await import('./adapters/xl/xen-host.js');
  const commands = { exec: createExec(process.env), follow: createFollow(process.env) };
  const places = usualPlaces(process.env['PATH'] ?? '');
  const xenDir = resolve(options.toolstack.xenDir);
  return openXlParts({ stateDir, isAlone, xenDir, places, ...commands, log, build });
}

async function run(options: HostOptions): Promise<void> {
  const { lockStateFolder } = await import('./adapters/disk/state-lock.js');
  const { AgentApp } = await import('./app.js');
  const log = await openLog(options.logLevel);
  const stateDir = resolve(options.stateDir);
  // Before anything is read: two agents would fight over the session, each with the other's counter.
  const lock = await lockStateFolder(stateDir, process.pid);
  const parts = await openParts(options, log, true);
  const app = new AgentApp(parts);
  const stopped = new Promise<void>((done) => {
    const stop = (signal: NodeJS.Signals): void => {
      log.info({ signal }, 'agent stops');
      void app.stop().then(done);
    };
    process.once('SIGTERM', stop);
    process.once('SIGINT', stop);
  });
  if (parts.toolstack.isSimulated) {
    process.stderr.write('domherd-agent: SIMULATED toolstack, no Xen is behind it\n');
  }
  await app.start(new AbortController().signal);
  await stopped;
  await lock.release();
}

async function join(options: HostOptions, host: string | undefined): Promise<void> {
  if (process.stdin.isTTY) {
    throw invalid('The token is read from the input, which is a terminal', {
      hint: 'on the frontend: domherd host token NAME | ssh root@NAME domherd-agent join',
    });
  }
  const { text } = await import('node:stream/consumers');
  const { joinController } = await import('./services/joining.js');
  const parts = await openParts(options, await openLog(options.logLevel), false);
  const token = await text(process.stdin);
  const identity = await joinController(token, host ?? hostname(), parts, AbortSignal.timeout(120_000));
  const until = new Date(identity.notAfterMs).toISOString();
  const mark = parts.toolstack.isSimulated ? ' (simulated)' : '';
  process.stdout.write(`joined as ${identity.host}${mark}, certificate until ${until}\n`);
}

async function status(options: CommonOptions): Promise<void> {
  const { DirIdentityStore } = await import('./adapters/disk/dir-identity-store.js');
  const { FileAgentRecord } = await import('./adapters/disk/file-agent-record.js');
  const { nodeKeyMaker } = await import('./adapters/system/node-key-maker.js');
  const { formatStatus } = await import('./status-text.js');
  const stateDir = resolve(options.stateDir);
  const identity = await new DirIdentityStore(stateDir, nodeKeyMaker).load();
  const last = await new FileAgentRecord(stateDir).readStatus();
  const isRunning = last !== undefined && isAlive(last.pid);
  process.stdout.write(formatStatus({ identity, status: last, isRunning, nowMs: Date.now() }));
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // Another user's process is alive, too.
    return error instanceof Error && 'code' in error && error.code === 'EPERM';
  }
}

async function boot(options: BootCommandOptions): Promise<void> {
  const { createExec } = await import('../shared/exec.js');
  const { runBoot } = await import('./boot-command.js');
  // Also when a disk or a command hangs: domUs wait for this.
  const limit = setTimeout(() => {
    process.exit(report(new AppError('timeout', `The boot step took over ${options.timeoutMs / 1000} s`)));
  }, options.timeoutMs);
  const { text, warnings } = await runBoot(options, createExec(process.env)).finally(() => clearTimeout(limit));
  process.stdout.write(text);
  for (const warning of warnings) process.stderr.write(`domherd-agent: ${warning}\n`);
}

async function release(options: GateOptions): Promise<void> {
  const { runRelease } = await import('./boot-command.js');
  const { text, isWhole } = runRelease(options);
  process.stdout.write(text);
  exitCode = isWhole ? 0 : EXIT_CODE.partial;
}

/** What the process exits with; commander has printed its own words. */
function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_CODE.invalid;
  const known = toAppError(error);
  process.stderr.write(formatFailure('domherd-agent', known, 'see domherd-agent --help'));
  if (known.code === 'internal') process.stderr.write(`${known.stack ?? ''}\n`);
  return EXIT_CODE[known.code];
}

process.exitCode = await createProgram({ run, join, status, boot, release })
  .parseAsync()
  .then(() => exitCode, report);
setTimeout(() => process.exit(), EXIT_ANYWAY_MS).unref();
