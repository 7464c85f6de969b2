import { Command, InvalidArgumentError, Option } from 'commander';
import { VERSION } from '../../shared/version.js';
import { isRequestId } from '../domain/request-id.js';
import { BRIDGE } from './bridge-command.js';
import { CERTIFICATE } from './certificate-command.js';
import { COMPLETION } from './completion-command.js';
import { CONFLICT } from './conflict-command.js';
import { DISK } from './disk-command.js';
import { EVENT } from './event-command.js';
import { formatUsageFailure } from './failure.js';
import { dataWriter, parseFormat } from './format.js';
import { HOST } from './host-command.js';
import { IMAGE } from './image-command.js';
import type { GlobalOptions, Invocation } from './invocation.js';
import { KEYS } from './keys-command.js';
import { LEASE } from './lease-command.js';
import { MAC } from './mac-command.js';
import { RESERVATION } from './reservation-command.js';
import { SSH_CONFIG_VERB } from './ssh-command.js';
import { inUserWords } from './user-words.js';
import type { Noun, Verb } from './verb.js';
import { VERSION_VERB } from './version-command.js';
import { VM } from './vm-command.js';
import { PLAN_VERB } from './vm-create-command.js';
import type { World } from './world.js';

export const NOUNS: readonly Noun[] = [
  RESERVATION,
  LEASE,
  HOST,
  VM,
  IMAGE,
  KEYS,
  BRIDGE,
  DISK,
  MAC,
  EVENT,
  CONFLICT,
  CERTIFICATE,
  COMPLETION,
];

/** Those that stand without a noun. */
export const PLAIN_VERBS: readonly Verb<never>[] = [PLAN_VERB, SSH_CONFIG_VERB, VERSION_VERB];

const EXAMPLES = [
  'g5k-subnets -a | domherd reservation import - --name job42 --ends 20:00',
  'domherd host add --file $OAR_NODE_FILE',
  'domherd vm address --all && domherd vm start --all && domherd vm wait --all --for=running',
  'domherd vm list -o ips > vms_assigned_ips.txt',
];

const HELP_WIDTH = 100;

/** The result of a run, for the one who started it. */
export interface Outcome {
  exitCode: number;
}

/** The whole command line. Building it touches nothing; parsing runs the command and leaves its exit code in `outcome`. */
export function buildProgram(world: World, outcome: Outcome, argv: readonly string[] = []): Command {
  const program = new Command('domherd').description(
    'Herds Xen domUs: every address and MAC has one owner, all VMs of all hosts from one place',
  );
  prepare(program, world);
  program.version(VERSION, '-V, --version', 'print the version of this program');
  program.configureHelp({ showGlobalOptions: true, sortOptions: false });
  for (const option of globalOptions()) program.addOption(option);
  const run: Run = {
    world,
    outcome,
    line: argv,
    trailing: argv.includes('--') ? argv.slice(argv.indexOf('--') + 1) : [],
  };
  for (const noun of NOUNS) addNoun(program, noun, run);
  for (const verb of PLAIN_VERBS) addVerb(program, verb, run);
  addExamples(program, EXAMPLES);
  return program;
}

export function globalOptions(): readonly Option[] {
  return [
    new Option('-o, --output <format>', 'table, wide, json, yaml, name or ips; what a command takes is in its help'),
    new Option('--no-headers', 'leave out the first line of tables'),
    new Option('--socket <file>', 'unix socket of the controller (environment: DOMHERD_SOCKET)'),
    new Option('--controller <host:port>', 'reach the controller over TCP, with --identity').argParser(givenEndpoint),
    new Option('--identity <dir>', 'folder with key.pem, cert.pem and ca.pem, made by "certificate issue"'),
    new Option('--request-id <id>', 'go on with what was asked for under this id; --verbose tells it').argParser(
      givenRequestId,
    ),
    new Option('--verbose', 'tell on stderr whom is talked to, and the request id'),
  ];
}

/** @throws {InvalidArgumentError} */
function givenRequestId(text: string): string {
  if (isRequestId(text)) return text;
  throw new InvalidArgumentError('It must be 8 to 64 characters of [A-Za-z0-9._-].');
}

/** @throws {InvalidArgumentError} */
function givenEndpoint(text: string): string {
  if (/^[^\s/]+:\d{1,5}$/.test(text)) return text;
  throw new InvalidArgumentError('It must be HOST:PORT.');
}

function prepare(command: Command, world: World): void {
  command.exitOverride();
  command.showSuggestionAfterError();
  command.configureOutput({
    writeOut: (text) => world.stdout.write(text),
    writeErr: (text) => world.stderr.write(text),
    getOutHelpWidth: () => Math.min(world.stdout.columns ?? HELP_WIDTH, HELP_WIDTH),
    getErrHelpWidth: () => Math.min(world.stderr.columns ?? HELP_WIDTH, HELP_WIDTH),
    outputError: (text, write) => write(formatUsageFailure(text, pathOf(command))),
  });
}

/** What every command has of the command line that it stands in. */
interface Run {
  readonly world: World;
  readonly outcome: Outcome;
  readonly line: readonly string[];
  readonly trailing: readonly string[];
}

function addNoun(program: Command, noun: Noun, run: Run): void {
  const command = program.command(noun.name).description(noun.about);
  prepare(command, run.world);
  for (const verb of noun.verbs) addVerb(command, verb, run);
  addExamples(
    command,
    noun.verbs.map((verb) => verb.examples[0]),
  );
}

function addVerb(parent: Command, verb: Verb<never>, run: Run): void {
  const command = parent.command(verb.args ? `${verb.name} ${verb.args}` : verb.name).description(verb.about);
  prepare(command, run.world);
  command.allowExcessArguments(false);
  for (const option of verb.options ?? []) command.addOption(option);
  addFormats(command, verb);
  addExamples(command, verb.examples);
  command.action(async () => {
    const call = await invocation(command, verb, run);
    run.outcome.exitCode = await verb.run(call, command.args, command.opts<never>()).catch((error: unknown) => {
      throw inUserWords(error, verb);
    });
  });
}

async function invocation(command: Command, verb: Verb<never>, { world, line, trailing }: Run): Promise<Invocation> {
  const global = rootOf(command).opts<GlobalOptions>();
  const format = parseFormat(global.output, verb.formats, pathOf(command));
  const requestId = global.requestId ?? world.newId();
  return { world, global, format, writeData: await dataWriter(format), line, trailing, requestId };
}

function addFormats(command: Command, verb: Verb<never>): void {
  const [first, ...rest] = verb.formats;
  if (first === undefined) return;
  command.addHelpText('after', `\nFormats (-o): ${[`${first} (default)`, ...rest].join(', ')}`);
}

function addExamples(command: Command, examples: readonly string[]): void {
  command.addHelpText('after', `\nExamples:\n${examples.map((example) => `  ${example}`).join('\n')}`);
}

function rootOf(command: Command): Command {
  return command.parent ? rootOf(command.parent) : command;
}

/** "domherd lease list" */
export function pathOf(command: Command): string {
  return command.parent ? `${pathOf(command.parent)} ${command.name()}` : command.name();
}
