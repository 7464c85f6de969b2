import { basename, dirname, isAbsolute, join } from 'node:path';
import { isMap, isScalar, isSeq, LineCounter, parseDocument, type Node, type YAMLMap } from 'yaml';
import { INSTALLERS } from '../../../shared/domain/installer.js';
import { checkLabels, type Labels } from '../../../shared/domain/label.js';
import { parseBridgeName, parseVmName } from '../../../shared/domain/name.js';
import { parseSha256 } from '../../../shared/domain/sha256.js';
import { BOOTLOADERS, MAX_DISK_MIB, MAX_EXTRA_VIFS, STORAGES } from '../../../shared/domain/vm-shape.js';
import { AppError, invalid } from '../../../shared/errors.js';
import { closestNames } from '../../domain/closest-name.js';
import { bootOf, installerOf, isUrl, refuseSource } from '../create-source.js';
import type { CreateOptions } from '../vm-create-action.js';

/** VMs that are alike. */
export interface FleetGroup {
  readonly name: string;
  /** As `vm create` makes them: NAME, or NAME-1, NAME-2, ... */
  readonly names: readonly string[];
  /** Of `vm create`. */
  readonly options: CreateOptions;
  readonly labels: Labels;
  /** `undefined`: as they are. */
  readonly isStarted: boolean | undefined;
}

export interface FleetFile {
  /** Of the file, unless it says another: VMs of one fleet are told from those of others by it. */
  readonly name: string;
  readonly groups: readonly FleetGroup[];
}

interface Fault {
  readonly node: Node | undefined;
  readonly text: string;
}

/** Reads one value. @throws {Bad} what is wrong with it */
type Read = (value: unknown, node: Node) => Partial<Draft>;

class Bad extends Error {}

interface Draft {
  name: string;
  count: number;
  labels: Labels;
  isStarted: boolean;
  options: CreateOptions;
}

/** The keys of a group: the options of `vm create`. */
const KEYS: Readonly<Record<string, Read>> = {
  name: (value) => ({ name: nameFrom(value) }),
  count: (value) => ({ count: integer(value, 1, 1_000) }),
  like: (value) => ({ options: { like: text(value) } }),
  image: (value) => ({ options: { image: text(value) } }),
  sha256: (value) => ({ options: { sha256: parseSha256(text(value)) } }),
  'cloud-init': (value) => ({ options: { cloudInit: flag(value) } }),
  'user-data': (value) => ({ options: { userData: text(value) } }),
  installer: (value) => ({ options: { installer: oneOf(INSTALLERS, value) } }),
  dist: (value) => ({ options: { dist: text(value) } }),
  mirror: (value) => ({ options: { mirror: text(value) } }),
  tarball: (value) => ({ options: { tarball: text(value) } }),
  kernel: (value) => ({ options: { kernel: text(value) } }),
  ramdisk: (value) => ({ options: { ramdisk: text(value) } }),
  cmdline: (value) => ({ options: { cmdline: text(value) } }),
  bootloader: (value) => ({ options: { bootloader: oneOf(BOOTLOADERS, value) } }),
  memory: (value) => ({ options: { memory: integer(value, 16, 1_048_576) } }),
  vcpus: (value) => ({ options: { vcpus: integer(value, 1, 512) } }),
  storage: (value) => ({ options: { storage: oneOf(STORAGES, value) } }),
  disk: (value) => ({ options: { disk: integer(value, 1, MAX_DISK_MIB) } }),
  swap: (value) => ({ options: { swap: integer(value, 1, MAX_DISK_MIB) } }),
  'extra-disk': (value) => ({ options: { extraDisk: list(value).map((size) => integer(size, 1, MAX_DISK_MIB)) } }),
  'extra-vif': (value) => ({ options: { extraVif: bridgesFrom(value) } }),
  on: (value) => ({ options: { on: list(value).map(text) } }),
  pack: (value) => ({ options: { pack: flag(value) } }),
  apart: (value) => ({ options: value === false ? {} : { apart: value === true ? true : text(value) } }),
  labels: (value) => ({ labels: labelsFrom(value) }),
  reservation: (value) => ({ options: { reservation: text(value) } }),
  bridge: (value) => ({ options: { bridge: text(value) } }),
  started: (value) => ({ isStarted: flag(value) }),
  autostart: (value) => ({ options: { autostart: flag(value) } }),
};
const TOP_KEYS = ['fleet', 'vms'];

/**
 * @param path for messages, and for the fleet's name
 * @throws {AppError} `invalid` with every fault as PATH:LINE:COLUMN, one a line
 */
export function parseFleetFile(content: string, path: string): FleetFile {
  const lines = new LineCounter();
  const document = parseDocument(content, { lineCounter: lines, prettyErrors: false });
  const place = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${path}:${String(line)}:${String(col)}`;
  };
  const [broken] = document.errors;
  if (broken) throw refused([`${place(broken.pos[0])}: ${broken.message.split('\n')[0] ?? ''}`]);
  const reader = new FileReader(path);
  const file = reader.read(document.contents);
  if (reader.faults.length === 0) return file;
  throw refused(reader.faults.map(({ node, text: what }) => `${place(node?.range?.[0] ?? 0)}: ${what}`));
}

function refused(faults: readonly string[]): AppError {
  const hint = `the keys of a group are ${Object.keys(KEYS).join(', ')}; see docs/cli.md`;
  return invalid(faults.join('\n'), { hint });
}

class FileReader {
  readonly faults: Fault[] = [];
  private readonly path: string;
  private readonly seen = new Map<string, string>();

  constructor(path: string) {
    this.path = path;
  }

  read(root: Node | null): FleetFile {
    const name = defaultName(this.path);
    if (!isMap(root)) return { name, groups: this.fault(root ?? undefined, 'a map with "vms:" is expected', []) };
    const top = this.entries(root, TOP_KEYS);
    const vms = top.get('vms');
    if (!vms) this.fault(root, '"vms:" is missing: the list of groups of VMs', undefined);
    if (vms && !isSeq(vms)) this.fault(vms, '"vms" is no list: begin each group with "- name: NAME"', undefined);
    const items = isSeq(vms) ? vms.items : [];
    return {
      name: this.valueOf(top.get('fleet'), labelValue) ?? name,
      groups: items.flatMap((item) => this.group(item as Node)),
    };
  }

  private group(node: Node): readonly FleetGroup[] {
    if (!isMap(node)) return this.fault(node, 'a group is a map: "- name: NAME", and its keys below', []);
    const before = this.faults.length;
    const draft: Partial<Draft> & { options: CreateOptions } = { options: {} };
    for (const [key, value] of this.entries(node, Object.keys(KEYS))) {
      const { options, ...rest } = this.valueOf<Partial<Draft>>(value, KEYS[key] ?? (() => ({}))) ?? {};
      Object.assign(draft, rest, { options: { ...draft.options, ...options } });
    }
    const { name, count, labels = {}, isStarted, options } = draft;
    if (!node.has('name')) this.fault(node, 'the group has no name', undefined);
    if (this.faults.length === before) this.refuseSource(node, options);
    if (name === undefined || this.faults.length > before) return [];
    const names = count === undefined ? [name] : Array.from({ length: count }, (_, n) => `${name}-${String(n + 1)}`);
    this.refuseTwice(node, name, names);
    return [{ name, names, options: besideFile(this.path, options), labels, isStarted }];
  }

  private refuseSource(node: Node, options: CreateOptions): void {
    try {
      refuseSource(options);
      installerOf(options);
      bootOf(options);
    } catch (error) {
      if (!(error instanceof AppError)) throw error;
      const hint = error.details['hint'];
      // The keys are those of the options.
      const said = `${error.message}${hint === undefined ? '' : ` (${hint})`}`.replaceAll(/--(?=[a-z])/g, '');
      this.fault(node, said, undefined);
    }
  }

  private refuseTwice(node: Node, group: string, names: readonly string[]): void {
    const twice = names.find((name) => this.seen.has(name));
    if (twice !== undefined)
      this.fault(node, `VM ${twice} is in group ${this.seen.get(twice) ?? ''} already`, undefined);
    for (const name of names) this.seen.set(name, group);
  }

  private entries(map: YAMLMap, known: readonly string[]): ReadonlyMap<string, Node> {
    const found = new Map<string, Node>();
    for (const { key, value } of map.items) {
      const name = isScalar(key) ? String(key.value) : '';
      const at = key as Node;
      if (known.includes(name)) found.set(name, (value ?? at) as Node);
      else this.fault(at, unknownKey(name, known), undefined);
    }
    return found;
  }

  private valueOf<T>(node: Node | undefined, read: (value: unknown, node: Node) => T): T | undefined {
    if (!node) return undefined;
    try {
      return read(toPlain(node), node);
    } catch (error) {
      if (error instanceof Bad || error instanceof AppError) return this.fault(node, error.message, undefined);
      throw error;
    }
  }

  private fault<T>(node: Node | undefined, what: string, instead: T): T {
    this.faults.push({ node, text: what });
    return instead;
  }
}

function toPlain(node: Node): unknown {
  if (isScalar(node)) return node.value;
  if (isSeq(node)) return node.items.map((item) => toPlain(item as Node));
  if (isMap(node)) return Object.fromEntries(node.items.map(({ key, value }) => [String(key), toPlain(value as Node)]));
  throw new Bad('a value is expected here, no alias');
}

function unknownKey(name: string, known: readonly string[]): string {
  const [closest] = closestNames(name, known);
  return `unknown key "${name}"${closest === undefined ? '' : `, did you mean "${closest}"?`}`;
}

/** Files that a file names are beside it, wherever the command runs. */
function besideFile(path: string, { image, userData, ...options }: CreateOptions): CreateOptions {
  const beside = (file: string): string => (isAbsolute(file) ? file : join(dirname(path), file));
  return {
    ...options,
    ...(image !== undefined && { image: isUrl(image) ? image : beside(image) }),
    ...(userData !== undefined && { userData: beside(userData) }),
  };
}

/** What a label's value may be made of. */
function defaultName(path: string): string {
  const name = basename(path).replace(/\.ya?ml$/i, '');
  return (
    name
      .replaceAll(/[^A-Za-z0-9._-]/g, '-')
      .replaceAll(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/g, '')
      .slice(0, 63) || 'fleet'
  );
}

function labelValue(value: unknown): string {
  const name = text(value);
  checkLabels({ fleet: name });
  return name;
}

function nameFrom(value: unknown): string {
  return parseVmName(text(value));
}

function bridgesFrom(value: unknown): readonly string[] {
  const names = list(value).map((name) => parseBridgeName(text(name)));
  if (names.length <= MAX_EXTRA_VIFS) return names;
  throw new Bad(`there are ${String(MAX_EXTRA_VIFS)} at most`);
}

function oneOf<T extends string>(words: readonly T[], value: unknown): T {
  const word = words.find((known) => known === value);
  if (word !== undefined) return word;
  throw new Bad(`it must be one of ${words.join(', ')}`);
}

function labelsFrom(value: unknown): Labels {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Bad('it must be a map of labels');
  return checkLabels(Object.fromEntries(Object.entries(value).map(([key, word]) => [key, text(word)])));
}

function text(value: unknown): string {
  // `lille` is a text, and so is a name that is only digits: what YAML reads as a number is meant as it is written.
  if (typeof value === 'string' && value !== '') return value;
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  throw new Bad('it must be a text');
}

function integer(value: unknown, min: number, max: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
  throw new Bad(`it must be a whole number of ${String(min)} to ${String(max)}`);
}

function flag(value: unknown): boolean {
  if (typeof value === 'boolean') return value;
  throw new Bad('it must be true or false');
}

/** A single one may stand without brackets. */
function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? (value as readonly unknown[]) : [value];
}
