// Invariants:
// - A spec is read as parse_nic_config in Xen's tools/xl/xl_parse.c reads it: cut at commas, empty parts skipped, spaces
//   (not tabs) before a part skipped, `name=` with no blank around the `=`, of two with one name the later wins.
// - What xl only warns of (an unknown name, `mac = ..` with blanks) is kept and means nothing. What makes xl exit (rate,
//   devid, mtu) is refused, and so is a mac that xl would silently read as something else, save a template (vif-mac.ts).
// - Offsets count in the spec as xl sees it, that is, in the string with its escapes undone.
import { type Refuse, refuseIn } from './fault.js';
import type { Span } from './syntax.js';
import { isReadableMac, isTemplateMac } from './vif-mac.js';

/** One comma-separated part. The span goes from the first byte of its name to the last of its value. */
export interface VifParameter extends Span {
  readonly name: string;
  /** Blanks included, as xl takes them; save after a mac, where xl does not look. `undefined` for a part without `=`. */
  readonly value: string | undefined;
  readonly valueStart: number;
  /** Where the part begins: 0, or just behind a comma. */
  readonly partStart: number;
  /** False if xl warns of it and goes on. */
  readonly isKnown: boolean;
}

export interface VifSpec {
  readonly text: string;
  readonly parameters: readonly VifParameter[];
}

/** A change of a spec: what stands in the span gives way to `text`. */
export interface VifSpecEdit extends Span {
  readonly text: string;
}

const FLAGS: ReadonlySet<string> = new Set(['trusted', 'untrusted']);
const NAMES: ReadonlySet<string> = new Set(
  'type mac bridge netdev gatewaydev ip script backend vifname model rate forwarddev accel devid mtu vlan'.split(' '),
);

const RATE_SCALES: ReadonlyMap<string, number> = new Map([
  ['K', 1e3],
  ['M', 1e6],
  ['G', 1e9],
]);

/** Whether xl knows `name=`. */
export function isVifParameterName(name: string): boolean {
  return NAMES.has(name) || /^colo_[a-z0-9_]+$/.test(name);
}

/**
 * @param refuse makes the error; the default counts columns in the spec
 * @throws {AppError} `invalid` with `line`, `column`, `reason` and `hint`: see the invariants
 */
export function parseVifSpec(text: string, refuse: Refuse = refuseIn(text)): VifSpec {
  const parameters: VifParameter[] = [];
  let partStart = 0;
  for (const part of text.split(',')) {
    const parameter = parseParameter(part, partStart);
    if (parameter !== undefined) parameters.push(parameter);
    partStart += part.length + 1;
  }
  for (const parameter of parameters) checkParameter(parameter, refuse);
  return { text, parameters };
}

export function formatVifSpec(spec: VifSpec): string {
  return spec.text;
}

/** The one that counts: the last of its name that has a value. */
export function findVifParameter(spec: VifSpec, name: string): VifParameter | undefined {
  return spec.parameters.findLast((parameter) => parameter.name === name && parameter.value !== undefined);
}

/** Replaces the value that counts, or adds the parameter at the end in the spacing of the ones before. */
export function planSetVifParameter(spec: VifSpec, name: string, value: string): VifSpecEdit {
  const parameter = findVifParameter(spec, name);
  if (parameter !== undefined) return { start: parameter.valueStart, end: parameter.end, text: value };
  const end = spec.text.length;
  return { start: end, end, text: `${joinerOf(spec)}${name}=${value}` };
}

/** Takes out the last parameter of that name, with one comma; `undefined` if there is none. */
export function planRemoveVifParameter(spec: VifSpec, name: string): VifSpecEdit | undefined {
  const parameter = spec.parameters.findLast((candidate) => candidate.name === name);
  if (parameter === undefined) return undefined;
  const { start, end, partStart } = parameter;
  if (partStart > 0) return { start: partStart - 1, end, text: '' };
  // The first one: what follows takes its place, blanks before it included.
  const comma = spec.text.indexOf(',', end);
  const next = comma < 0 ? spec.text.length : comma + 1 + blanksAt(spec.text, comma + 1);
  return { start: comma < 0 ? 0 : start, end: next, text: '' };
}

function parseParameter(part: string, partStart: number): VifParameter | undefined {
  const blanks = blanksAt(part, 0);
  const body = part.slice(blanks);
  if (body === '') return undefined;
  const start = partStart + blanks;
  const equals = body.indexOf('=');
  if (equals < 0) {
    const end = start + body.length;
    return { name: body, value: undefined, start, valueStart: end, end, partStart, isKnown: FLAGS.has(body) };
  }
  const name = body.slice(0, equals);
  const value = name === 'mac' ? body.slice(equals + 1).trimEnd() : body.slice(equals + 1);
  const valueStart = start + equals + 1;
  return {
    name,
    value,
    start,
    valueStart,
    end: valueStart + value.length,
    partStart,
    isKnown: isVifParameterName(name),
  };
}

function checkParameter({ name, value, valueStart }: VifParameter, refuse: Refuse): void {
  if (value === undefined) return;
  if (name === 'mac' && !isReadableMac(value) && !isTemplateMac(value)) {
    throw refuse(valueStart, `"${value}" is not a MAC address`, 'write it as mac=00:16:3e:84:08:01');
  }
  if ((name === 'devid' || name === 'mtu') && !/^[ \t]*\+?\d{1,19}(?!\d)/.test(value)) {
    throw refuse(valueStart, `${name}="${value}" is not a number`, `write ${name} as a decimal number`);
  }
  if (name === 'rate' && !isReadableRate(value)) {
    throw refuse(
      valueStart,
      `"${value}" is not a rate that xl can keep`,
      'write it as rate=10Mb/s or rate=10Mb/s@50ms',
    );
  }
}

// xlu_vif_parse_rate in Xen's libxlu_vif.c, save that leading zeros, octal there, are refused. Without an interval xl
// takes 50 ms. The rate times the interval must fit into 64 bits, each part into 32.
function isReadableRate(rate: string): boolean {
  const match = /^([1-9]\d*)([GMK]?)([Bb])\/s(?:@([1-9]\d*)([mu]?)s?)?$/.exec(rate);
  if (match === null) return false;
  const [, count = '', scale = '', unit, interval = '50', intervalUnit = 'm'] = match;
  const bytes = (Number(count) * (RATE_SCALES.get(scale) ?? 1)) / (unit === 'b' ? 8 : 1);
  const usecs = Number(interval) * (intervalUnit === 'u' ? 1 : intervalUnit === 'm' ? 1000 : 1_000_000);
  return Number(count) < 2 ** 32 && usecs < 2 ** 32 && bytes * usecs < 2 ** 64;
}

function joinerOf({ text, parameters }: VifSpec): string {
  const second = parameters.find((parameter) => parameter.partStart > 0);
  const spacing = ' '.repeat(second === undefined ? 0 : second.start - second.partStart);
  const lastPart = text.slice(text.lastIndexOf(',') + 1);
  if (blanksAt(lastPart, 0) < lastPart.length) return `,${spacing}`;
  return lastPart === '' ? spacing : '';
}

function blanksAt(text: string, start: number): number {
  let end = start;
  while (text.charAt(end) === ' ') end += 1;
  return end - start;
}
