import { invalid } from '../errors.js';

/** Words that a user gives to VMs, by key. */
export type Labels = Readonly<Record<string, string>>;

/** What is to become of labels: a value, or `undefined` where one is taken away. */
export type LabelChanges = Readonly<Record<string, string | undefined>>;

export const MAX_LABELS = 64;
const KEY = /^[a-z0-9]([a-z0-9._/-]{0,61}[a-z0-9])?$/i;
const VALUE = /^([a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?)?$/i;
const HINT = 'write KEY=VALUE: up to 63 letters, digits and . _ - in each, / in the key too';

/** @throws {AppError} `invalid` unless it is a key */
export function checkLabelKey(key: string): string {
  if (KEY.test(key)) return key;
  throw invalid(`"${key}" is no key of a label`, { label: key, hint: HINT });
}

/** @throws {AppError} `invalid` for a key, a value, or too many */
export function checkLabels(labels: Labels): Labels {
  const entries = Object.entries(labels);
  if (entries.length > MAX_LABELS) throw invalid(`labels are more than ${MAX_LABELS}`);
  for (const [key, value] of entries) {
    checkLabelKey(key);
    if (!VALUE.test(value)) throw invalid(`"${value}" is no value of label ${key}`, { label: key, hint: HINT });
  }
  return labels;
}

/** `KEY=VALUE` texts. @throws {AppError} `invalid`, also for a key that comes twice with different values */
export function parseLabels(texts: readonly string[]): Labels {
  const changes = parseLabelChanges(texts);
  const labels = Object.entries(changes).flatMap(([key, value]) =>
    value === undefined ? [] : [[key, value] as const],
  );
  if (labels.length === Object.keys(changes).length) return Object.fromEntries(labels);
  throw invalid('a label is KEY=VALUE here', { hint: HINT });
}

/** `KEY=VALUE` and `KEY-`, which takes it away. @throws {AppError} as {@link parseLabels} */
export function parseLabelChanges(texts: readonly string[]): LabelChanges {
  const changes = new Map<string, string | undefined>();
  for (const text of texts) {
    const [key, value] = parseChange(text);
    if (changes.has(key) && changes.get(key) !== value) throw invalid(`label ${key} is given twice`, { label: key });
    changes.set(key, value);
  }
  return Object.fromEntries(changes);
}

export function isLabelChange(text: string): boolean {
  return text.includes('=') || /^[^@\[\]*]+-$/.test(text);
}

export function changeLabels(labels: Labels, changes: LabelChanges): Labels {
  const merged = Object.entries({ ...labels, ...changes });
  return Object.fromEntries(merged.flatMap(([key, value]) => (value === undefined ? [] : [[key, value] as const])));
}

export function formatLabels(labels: Labels): string {
  const keys = Object.keys(labels).sort();
  return keys.map((key) => `${key}=${labels[key] ?? ''}`).join(',');
}

function parseChange(text: string): readonly [key: string, value: string | undefined] {
  const at = text.indexOf('=');
  if (at < 0 && text.endsWith('-')) return [checkLabelKey(text.slice(0, -1)), undefined];
  if (at < 0) throw invalid(`"${text}" is no label`, { label: text, hint: HINT });
  const [key, value] = [text.slice(0, at), text.slice(at + 1)];
  checkLabels({ [key]: value });
  return [key, value];
}
