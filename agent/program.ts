import { Command, InvalidArgumentError, Option } from 'commander';
import { invalid } from '../shared/errors.js';
import { LOG_LEVELS, type LogLevel } from '../shared/log-level.js';
import { VERSION } from '../shared/version.js';
import { MAC_POLICIES, type MacPolicy } from './domain/mac-policy.js';
import { parseSimOptions, type SimOptions } from './domain/sim-option.js';

export interface CommonOptions {
  /** As typed: may be relative. */
  readonly stateDir: string;
  readonly logLevel: LogLevel;
}

export type ToolstackOptions =
  /** `xenDir` as typed: may be relative. */
  { readonly kind: 'xl'; readonly xenDir: string } | { readonly kind: 'sim'; readonly sim: SimOptions };

export interface HostOptions extends CommonOptions {
  readonly toolstack: ToolstackOptions;
}

/** Folders as typed; `undefined`: the default, see docs/operations.md. */
export interface GateOptions {
  readonly xenDir: string;
  readonly stateDir: string;
  readonly heldDir: string | undefined;
  readonly output: 'text' | 'json';
}

export interface BootCommandOptions extends GateOptions {
  readonly autoDir: string | undefined;
  readonly saveDir: string | undefined;
  readonly policy: MacPolicy;
  readonly isDryRun: boolean;
  readonly timeoutMs: number;
}

/** What the commands do; each resolves when its work is done. */
export interface AgentCommands {
  run(options: HostOptions): Promise<void>;
  /** @param host `undefined`: the name of this machine */
  join(options: HostOptions, host: string | undefined): Promise<void>;
  status(options: CommonOptions): Promise<void>;
  boot(options: BootCommandOptions): Promise<void>;
  release(options: GateOptions): Promise<void>;
}

interface ParsedOptions {
  readonly stateDir: string;
  readonly logLevel: LogLevel;
  readonly toolstack: 'xl' | 'sim';
  readonly xenDir?: string;
  readonly sim?: readonly string[];
  readonly host?: string;
}

const STATE_DIR = '/var/lib/domherd-agent';
/** Of Xen itself. */
export const XEN_DIR = '/etc/xen';
export const HELD_DIR = '/var/lib/domherd/held';

const EXAMPLES = {
  run: 'domherd-agent run',
  sim: 'domherd-agent run --toolstack sim --sim vms=2 --state-dir /tmp/dom0-1',
  join: 'domherd host token dom0-1 | ssh root@dom0-1 domherd-agent join --host dom0-1',
  joinSim: 'domherd host token try | domherd-agent join --host try --toolstack sim --state-dir /tmp/dom0-1',
  status: 'domherd-agent status',
  boot: 'domherd-agent boot --dry-run',
  bootElsewhere: 'domherd-agent boot --xen-dir /srv/cfg --state-dir /srv/state -o json',
  release: 'domherd-agent release',
  releaseJson: 'domherd-agent release -o json',
};

function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}\n`).join('')}`;
}

/** The command line of `domherd-agent`. Faults of use are thrown by commander, as CommanderError. */
export function createProgram(commands: AgentCommands): Command {
  const program = new Command('domherd-agent')
    .description("domherd's agent on a Xen dom0: dials the controller and does what it orders")
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError('(domherd-agent --help tells more)')
    .addHelpText('after', examples(EXAMPLES.join, EXAMPLES.status, EXAMPLES.boot, EXAMPLES.release));
  hostCommand(program, 'run')
    .description('serve this host; needs an identity, see join')
    .addHelpText('after', examples(EXAMPLES.run, EXAMPLES.sim))
    .action((options: ParsedOptions) => commands.run(readHostOptions(options)));
  hostCommand(program, 'join')
    .description('get an identity: domherd host token NAME | domherd-agent join')
    .option('--host <name>', 'the name that the token is for (default: the name of this machine)')
    .addHelpText('after', examples(EXAMPLES.join, EXAMPLES.joinSim))
    .action((options: ParsedOptions) => commands.join(readHostOptions(options), options.host));
  commonCommand(program, 'status')
    .description('who this host is, until when, and how its session is')
    .addHelpText('after', examples(EXAMPLES.status))
    .action((options: ParsedOptions) => commands.status(options));
  bootCommand(program, commands);
  gateCommand(program, 'release')
    .description('put back what the boot step held back from xendomains; overwrites nothing')
    .addHelpText('after', examples(EXAMPLES.release, EXAMPLES.releaseJson))
    .action((options: GateOptions) => commands.release(options));
  return program;
}

function bootCommand(program: Command, commands: AgentCommands): void {
  type Parsed = Omit<BootCommandOptions, 'isDryRun' | 'timeoutMs'> & { dryRun?: true; timeout: number };
  gateCommand(program, 'boot')
    .description('before xendomains: a MAC of its own for each vif, and nothing that is of another deployment started')
    .addHelpText('after', examples(EXAMPLES.boot, EXAMPLES.bootElsewhere))
    .option('--auto-dir <folder>', 'what xendomains starts (default: as /etc/default/xendomains says)')
    .option('--save-dir <folder>', 'what xendomains restores (default: as /etc/default/xendomains says)')
    .addOption(
      new Option('--policy <when>', 'when a vif gets a new MAC').choices(MAC_POLICIES).default('deployment' as const),
    )
    .option('--dry-run', 'say what would be done, write nothing')
    .option('--timeout <seconds>', 'give up after this', parseSeconds, 60)
    .action(({ dryRun, timeout, ...options }: Parsed) =>
      commands.boot({ ...options, isDryRun: dryRun === true, timeoutMs: timeout * 1000 }),
    );
}

function gateCommand(program: Command, name: string): Command {
  return program
    .command(name)
    .option('--xen-dir <folder>', 'where the cfg files are', XEN_DIR)
    .option('--state-dir <folder>', 'where records and backups are kept', STATE_DIR)
    .option(
      '--held-dir <folder>',
      `what is held back (default: ${HELD_DIR}; with another --xen-dir, held in the state folder)`,
    )
    .addOption(new Option('-o, --output <form>', 'for people or programs').choices(['text', 'json']).default('text'));
}

function parseSeconds(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text) && Number(text) <= 3600) return Number(text);
  throw new InvalidArgumentError('it is 1 to 3600 seconds.');
}

function commonCommand(program: Command, name: string): Command {
  return program
    .command(name)
    .option('--state-dir <folder>', 'where identity and records are kept', STATE_DIR)
    .addOption(new Option('--log-level <level>', 'least important lines to log').choices(LOG_LEVELS).default('info'));
}

function hostCommand(program: Command, name: string): Command {
  const collect = (text: string, before: readonly string[] = []): readonly string[] => [...before, text];
  return commonCommand(program, name)
    .addOption(
      new Option('--toolstack <name>', 'xl: Xen; sim: simulated domains, for trying out')
        .choices(['xl', 'sim'])
        .default('xl'),
    )
    .option('--xen-dir <folder>', `where the cfg files of the domUs are (default: ${XEN_DIR})`)
    .option('--sim <key=value>', 'how simulated domains behave; may be repeated: vms=4, boot-ms=1500, ...', collect);
}

/** @throws {AppError} `invalid` */
function readHostOptions({ stateDir, logLevel, toolstack, xenDir, sim }: ParsedOptions): HostOptions {
  if (toolstack === 'xl') {
    if (sim === undefined) return { stateDir, logLevel, toolstack: { kind: 'xl', xenDir: xenDir ?? XEN_DIR } };
    throw invalid('--sim is for the simulated toolstack', { hint: 'add --toolstack sim' });
  }
  if (xenDir === undefined) return { stateDir, logLevel, toolstack: { kind: 'sim', sim: parseSimOptions(sim ?? []) } };
  throw invalid('--xen-dir is for the toolstack xl: a simulated host has cfg files of its own', {
    hint: 'they are in sim/xen of its state folder',
  });
}
