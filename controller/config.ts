import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import * as v from 'valibot';
import { AppError, invalid, messageOf } from '../shared/errors.js';
import { defaultDataDir, defaultSocketPath, type Account } from '../shared/domain/socket-path.js';
import { LOG_LEVELS, type LogLevel } from '../shared/log.js';
import { closestNames } from './domain/closest-name.js';
import { parseAdvertised, parseListenAddress, type ListenAddress } from './domain/listen-address.js';

/** Everything that can be set, with nothing left open. Times are milliseconds. */
export interface Config {
  /** Absolute. */
  readonly dataDir: string;
  /** Absolute. */
  readonly socket: string;
  /** `undefined`: off. */
  readonly listen: ListenAddress | undefined;
  readonly joinListen: ListenAddress | undefined;
  readonly advertise: readonly string[];
  readonly logLevel: LogLevel;
  readonly heartbeatMs: number;
  readonly lostAfterMs: number;
  readonly startGraceMs: number;
  readonly quarantineMs: number;
}

/** The same, as it is written in a file, the environment or flags: each may be missing. */
export type Settings = v.InferOutput<typeof settingsSchema>;

const integer = (min: number, max: number) =>
  v.pipe(
    v.number('expected a number'),
    v.integer('expected a whole number'),
    v.minValue(min, ({ received }) => `${received} is below the minimum ${String(min)}`),
    v.maxValue(max, ({ received }) => `${received} is above the maximum ${String(max)}`),
  );

/** A text that one of our parsers takes; what is wrong is said in its words. */
const parsed = (parse: (text: string) => unknown) =>
  v.pipe(
    v.string('expected a text'),
    v.rawCheck(({ dataset, addIssue }) => {
      try {
        if (dataset.typed) parse(dataset.value);
      } catch (error) {
        const hint = error instanceof AppError ? error.details['hint'] : undefined;
        addIssue({ message: `${messageOf(error)}${hint === undefined ? '' : `; ${hint}`}` });
      }
    }),
  );

const path = v.pipe(v.string('expected a path'), v.nonEmpty('is empty; expected a path'));
const listen = parsed((text) => text === 'off' || parseListenAddress(text));

const settingsSchema = v.partial(
  v.strictObject({
    dataDir: path,
    socket: path,
    listen,
    joinListen: listen,
    advertise: v.array(parsed(parseAdvertised), 'expected a list of names or addresses'),
    logLevel: v.picklist(LOG_LEVELS, `expected one of ${LOG_LEVELS.join(', ')}`),
    heartbeatMs: integer(100, 60_000),
    lostAfterMs: integer(1_000, 3_600_000),
    startGraceMs: integer(0, 3_600_000),
    quarantineMs: integer(0, 604_800_000),
  }),
);

const KEYS = Object.keys(settingsSchema.entries);

/** 7433 and 7434 are unassigned (IANA), and above what needs privileges. */
const DEFAULTS = {
  listen: '0.0.0.0:7433',
  joinListen: '0.0.0.0:7434',
  advertise: [],
  logLevel: 'info',
  heartbeatMs: 10_000,
  lostAfterMs: 30_000,
  startGraceMs: 300_000,
  quarantineMs: 3_600_000,
} as const satisfies Settings;

/** One thing that is wrong: which key, and what. */
interface Fault {
  readonly key: string;
  readonly text: string;
}

/**
 * @param source what to call it, as in "/etc/domherd/controller.json" or "environment"
 * @throws {AppError} `invalid` with all faults in the message
 */
export function parseSettings(input: unknown, source: string): Settings {
  // An array is an object to valibot.
  const result = v.safeParse(settingsSchema, Array.isArray(input) ? undefined : input);
  const faults = result.success ? crossCheck(result.output) : result.issues.map(faultOf);
  if (result.success && faults.length === 0) return result.output;
  throw faulty(source, faults);
}

/** @throws {AppError} `invalid` with all faults in the message; `not_found` if the file cannot be read */
export function readSettings(file: string): Settings {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const hint = 'give a file that is there and readable; deploy/controller.example.json has every key';
    throw new AppError('not_found', `${file} cannot be read: ${messageOf(error)}`, { path: file, hint }, error);
  }
  let input: unknown;
  try {
    input = JSON.parse(text);
  } catch (error) {
    const hint = 'deploy/controller.example.json shows the form';
    throw invalid(`${file} is not JSON: ${messageOf(error)}`, { path: file, hint });
  }
  return parseSettings(input, file);
}

/** What the environment says; unset and empty are the same. @throws {AppError} `invalid` with all faults */
export function readEnvironment(env: Readonly<Record<string, string | undefined>>): Settings {
  const input = {
    dataDir: env['DOMHERD_DATA_DIR'] || undefined,
    socket: env['DOMHERD_SOCKET'] || undefined,
    listen: env['DOMHERD_LISTEN'] || undefined,
    joinListen: env['DOMHERD_JOIN_LISTEN'] || undefined,
    advertise: env['DOMHERD_ADVERTISE']?.split(',').filter((host) => host !== ''),
    logLevel: env['DOMHERD_LOG_LEVEL'] || undefined,
  };
  return parseSettings(onlySet(input), 'environment');
}

/**
 * Later layers win: file, environment, flags.
 *
 * @throws {AppError} `invalid` if together they make no sense
 */
export function buildConfig(layers: readonly Settings[], account: Account): Readonly<Config> {
  const settings = { ...DEFAULTS, ...Object.assign({}, ...layers.map(onlySet)) } as typeof DEFAULTS & Settings;
  const faults = crossCheck(settings);
  if (faults.length > 0) throw faulty('settings', faults);
  const dataDir = resolve(settings.dataDir ?? defaultDataDir(account));
  return Object.freeze({
    ...settings,
    dataDir,
    socket: resolve(settings.socket ?? defaultSocketPath(account, dataDir)),
    listen: addressFrom(settings.listen),
    joinListen: addressFrom(settings.joinListen),
    advertise: settings.advertise.map(parseAdvertised),
  });
}

function addressFrom(text: string): ListenAddress | undefined {
  return text === 'off' ? undefined : parseListenAddress(text);
}

/** Two missed heartbeats are a hiccup. */
function crossCheck(settings: Settings): readonly Fault[] {
  const { heartbeatMs = DEFAULTS.heartbeatMs, lostAfterMs = DEFAULTS.lostAfterMs } = settings;
  if (lostAfterMs >= 2 * heartbeatMs) return [];
  const text = `${String(lostAfterMs)} is less than twice heartbeatMs (${String(heartbeatMs)})`;
  return [{ key: 'lostAfterMs', text }];
}

function faultOf(issue: v.BaseIssue<unknown>): Fault {
  const key = issue.path?.map((item) => String(item.key)).join('.') ?? '';
  if (issue.expected !== 'never') return { key, text: issue.path === undefined ? 'expected an object' : issue.message };
  const [meant] = closestNames(key, KEYS);
  return { key, text: `unknown key${meant === undefined ? '' : `; did you mean ${meant}?`}` };
}

function faulty(source: string, faults: readonly Fault[]): AppError {
  const width = Math.max(...faults.map(({ key }) => key.length));
  const lines = faults.map(({ key, text }) => `  ${key.padEnd(width)}  ${text}`);
  const count = faults.length === 1 ? '1 problem' : `${String(faults.length)} problems`;
  return invalid([`${source}: ${count}`, ...lines].join('\n'), { hint: 'docs/operations.md lists every key' });
}

function onlySet<T extends object>(input: T): Partial<T> {
  return Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined)) as Partial<T>;
}
