import { Command, Option } from 'commander';
import { invalid, wrongState } from '../shared/errors.js';
import { LOG_LEVELS, type LogLevel } from '../shared/log-level.js';
import { VERSION } from '../shared/version.js';
import { parseSimOptions, type SimOptions } from './domain/sim-option.js';

export interface CommonOptions {
  /** As typed: may be relative. */
  readonly stateDir: string;
  readonly logLevel: LogLevel;
}

export interface HostOptions extends CommonOptions {
  readonly sim: SimOptions;
}

/** What the commands do; each resolves when its work is done. */
export interface AgentCommands {
  run(options: HostOptions): Promise<void>;
  /** @param host `undefined`: the name of this machine */
  join(options: HostOptions, host: string | undefined): Promise<void>;
  status(options: CommonOptions): Promise<void>;
}

interface ParsedOptions {
  readonly stateDir: string;
  readonly logLevel: LogLevel;
  readonly toolstack?: string;
  readonly sim?: readonly string[];
  readonly host?: string;
}

const STATE_DIR = '/var/lib/domherd-agent';

/** The command line of `domherd-agent`. Faults of use are thrown by commander, as CommanderError. */
export function createProgram(commands: AgentCommands): Command {
  const program = new Command('domherd-agent')
    .description("domherd's agent on a Xen dom0: dials the controller and does what it orders")
    .version(VERSION)
    .exitOverride()
    .showHelpAfterError('(domherd-agent --help tells more)');
  hostCommand(program, 'run')
    .description('serve this host; needs an identity, see join')
    .action((options: ParsedOptions) => commands.run(readHostOptions(options)));
  hostCommand(program, 'join')
    .description('get an identity: domherd host token NAME | domherd-agent join')
    .option('--host <name>', 'the name that the token is for (default: the name of this machine)')
    .action((options: ParsedOptions) => commands.join(readHostOptions(options), options.host));
  commonCommand(program, 'status')
    .description('who this host is, until when, and how its session is')
    .action((options: ParsedOptions) => commands.status(options));
  return program;
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
    .option('--toolstack <name>', 'sim: simulated domains, for trying out')
    .option('--sim <key=value>', 'how simulated domains behave; may be repeated: vms=4, boot-ms=1500, ...', collect);
}

/** @throws {AppError} `invalid`, `wrong_state` */
function readHostOptions({ stateDir, logLevel, toolstack, sim }: ParsedOptions): HostOptions {
  if (toolstack === undefined) {
    throw wrongState('This build has no xl toolstack yet: it cannot manage the domains of this host', {
      hint: 'add --toolstack sim to try it out with simulated domains',
    });
  }
  if (toolstack === 'sim') return { stateDir, logLevel, sim: parseSimOptions(sim ?? []) };
  throw invalid(`"${toolstack}" is not a toolstack of this build`, { hint: 'the only one is sim' });
}
