import { invalid } from '../../shared/errors.js';
import { parseIpv4, type Ipv4 } from '../../shared/domain/ipv4.js';

export const SIM_ACTIONS = [
  'start',
  'configure',
  'restore',
  'copy',
  'shutdown',
  'destroy',
  'reboot',
  'pause',
  'unpause',
] as const;
export type SimAction = (typeof SIM_ACTIONS)[number];

/** How a simulated host behaves. */
export interface SimOptions {
  /** domUs of the image, made at the first run; 0 to 1,000. */
  readonly vms: number;
  /** Milliseconds from create to running; 0 to 600,000. */
  readonly bootMs: number;
  /** Milliseconds that the making of a disk takes; 0 to 600,000. */
  readonly copyMs: number;
  /** Of the counters; any integer of 0 to 2**32 - 1. */
  readonly seed: number;
  /** "action:vm" pairs that fail. */
  readonly failures: ReadonlySet<string>;
  /** VMs that do not react to a shutdown. */
  readonly ignoresShutdown: ReadonlySet<string>;
  /** Addresses that somebody else on the wire has. */
  readonly inUse: ReadonlySet<Ipv4>;
}

type Change = (options: SimOptions, value: string) => SimOptions;

const KEYS: Readonly<Record<string, Change>> = {
  vms: (options, value) => ({ ...options, vms: parseCount('vms', value, 1000) }),
  'boot-ms': (options, value) => ({ ...options, bootMs: parseCount('boot-ms', value, 600_000) }),
  'copy-ms': (options, value) => ({ ...options, copyMs: parseCount('copy-ms', value, 600_000) }),
  seed: (options, value) => ({ ...options, seed: parseCount('seed', value, 2 ** 32 - 1) }),
  fail: (options, value) => ({ ...options, failures: new Set([...options.failures, parseFailure(value)]) }),
  'ignore-shutdown': (options, value) => ({
    ...options,
    ignoresShutdown: new Set([...options.ignoresShutdown, value]),
  }),
  'in-use': (options, value) => ({ ...options, inUse: new Set([...options.inUse, parseIpv4(value)]) }),
};

export const DEFAULT_SIM_OPTIONS: SimOptions = {
  vms: 4,
  bootMs: 1500,
  copyMs: 0,
  seed: 1,
  failures: new Set(),
  ignoresShutdown: new Set(),
  inUse: new Set(),
};

/**
 * Reads `KEY=VALUE` texts. Of vms, boot-ms, copy-ms and seed the last one counts; the others add up.
 *
 * @throws {AppError} `invalid` for an unknown key, with all keys as a hint, or a value that is out of its range
 */
export function parseSimOptions(texts: readonly string[]): SimOptions {
  return texts.reduce((options, text) => {
    const at = text.indexOf('=');
    const key = at < 0 ? text : text.slice(0, at);
    const change = Object.hasOwn(KEYS, key) ? KEYS[key] : undefined;
    if (change === undefined || at < 0) {
      throw invalid(`--sim "${text}" is not an option of the simulated toolstack`, { option: text, hint: HINT });
    }
    return change(options, text.slice(at + 1));
  }, DEFAULT_SIM_OPTIONS);
}

const HINT = `write KEY=VALUE; the keys are ${Object.keys(KEYS).join(', ')} (fail=start:domU2, in-use=10.0.0.5)`;

function parseCount(key: string, text: string, max: number): number {
  if (/^\d{1,10}$/.test(text) && Number(text) <= max) return Number(text);
  throw invalid(`--sim ${key} is "${text}": a whole number of 0 to ${max} is expected`, { option: key });
}

function parseFailure(text: string): string {
  const [action, vm] = text.split(':', 2);
  if (vm !== undefined && vm !== '' && SIM_ACTIONS.some((known) => known === action)) return text;
  const hint = `write ACTION:NAME; the actions are ${SIM_ACTIONS.join(', ')}`;
  throw invalid(`--sim fail is "${text}": nothing can fail like that`, { option: 'fail', hint });
}
