import { groupBy } from '../../shared/domain/group-by.js';
import { isGlob, isPattern, matchesGlob, PatternExpander } from '../../shared/domain/name-pattern.js';
import { invalid, notFound } from '../../shared/errors.js';
import { closestNames } from './closest-name.js';
import type { VmId } from './lease.js';

/** Which VMs: exactly one of both is used. */
export interface VmSelector {
  /** Each a NAME, a NAME@HOST, an id, or a pattern of those: `web-[1-20]`, `web-*`, `*@dom0-1`. */
  readonly names: readonly string[];
  readonly all: boolean;
}

/** What a selector needs to know of a VM. */
export interface SelectableVm {
  readonly id: VmId;
  readonly name: string;
  readonly host: string;
  /** Found by name only when no other VM has the name. */
  readonly isGone: boolean;
}

/** All VMs, found fast by id and by name. */
export interface VmDirectory<V extends SelectableVm> {
  byId(id: VmId): V | undefined;
  byName(name: string): readonly V[];
  /** Without those that are gone. */
  all(): readonly V[];
}

const SHOWN = 5;

/**
 * The VMs that a selector means, each once, in the order in which they were named; those of one `*` by host and name.
 *
 * @throws {AppError} `invalid` unless exactly one of names and all is used, when several VMs have the name (details
 *   `candidates`), for a malformed pattern and for one of too many names; `not_found` when none has it, when a pattern
 *   matches none, and when there is no VM of some of the names that a pattern tells (details `missing`)
 */
export function selectVms<V extends SelectableVm>(selector: VmSelector, directory: VmDirectory<V>): readonly V[] {
  if (selector.all === selector.names.length > 0) {
    throw invalid('VM selector is empty or contradicts itself', {
      hint: 'give names of VMs, or all of them, not both',
    });
  }
  if (selector.all) return directory.all();
  const finder = new Finder(directory);
  return [...new Map(selector.names.flatMap((text) => finder.find(text)).map((vm) => [vm.id, vm])).values()];
}

/**
 * @param text NAME, NAME@HOST, an id, or a pattern that one VM matches; HOST may be the first label of the host's name
 * @throws {AppError} as {@link selectVms}
 */
export function selectVm<V extends SelectableVm>(text: string, directory: VmDirectory<V>): V {
  const [first, ...more] = new Finder(directory).find(text);
  if (first === undefined) throw unknownVm(text, directory);
  if (more.length === 0) return first;
  throw invalid(`VM pattern "${text}" matches ${more.length + 1} VMs, and one is wanted`, {
    vm: text,
    candidates: listOf([first, ...more].map(labelOf), 50, ' '),
    hint: 'name one of them',
  });
}

/** Finds the VMs of the texts of one selector. */
class Finder<V extends SelectableVm> {
  private readonly directory: NameIndex<V>;
  private all: readonly V[] | undefined;
  private readonly patterns = new PatternExpander();

  constructor(directory: VmDirectory<V>) {
    this.directory = new NameIndex(directory);
  }

  /** @returns at least one */
  find(text: string): readonly V[] {
    // A cfg may have any name in it: one that is written like a pattern is found by itself.
    if (!isPattern(text) || this.directory.byName(text).length > 0) return [selectNamed(text, this.directory)];
    const names = this.patterns.expand(text);
    const found = names.map((name) => this.matchesOf(name));
    const missing = names.filter((_, n) => found[n]?.length === 0);
    if (missing.length > 0) throw unmatched(text, names.length, missing);
    return found.flat();
  }

  private matchesOf(name: string): readonly V[] {
    if (isGlob(name)) return this.globbed(name);
    const matches = preferPresent(matchesOf(name, this.directory));
    if (matches.length > 1) throw ambiguousVm(name, matches);
    return matches;
  }

  private globbed(glob: string): readonly V[] {
    this.all ??= this.directory.all();
    const at = glob.lastIndexOf('@');
    const [name, host] = at < 0 ? [glob, '*'] : [glob.slice(0, at), glob.slice(at + 1).toLowerCase()];
    return this.all.filter(
      (vm) => (matchesGlob(name, vm.name) && isOnHost(vm, host)) || (at >= 0 && matchesGlob(glob, vm.name)),
    );
  }
}

/** Remembers what was asked for: `domU@dom0-[1-1000]` asks a thousand times for those of one name. */
class NameIndex<V extends SelectableVm> {
  private readonly directory: VmDirectory<V>;
  private readonly named = new Map<string, readonly V[]>();
  private readonly byHost = new Map<string, ReadonlyMap<string, readonly V[]>>();

  constructor(directory: VmDirectory<V>) {
    this.directory = directory;
  }

  byId(id: VmId): V | undefined {
    return this.directory.byId(id);
  }

  all(): readonly V[] {
    return this.directory.all();
  }

  byName(name: string): readonly V[] {
    const known = this.named.get(name) ?? this.directory.byName(name);
    this.named.set(name, known);
    return known;
  }

  /** @param host the host's name, or its first label */
  onHost(name: string, host: string): readonly V[] {
    const known = this.byHost.get(name) ?? hostIndex(this.byName(name));
    this.byHost.set(name, known);
    return known.get(host) ?? [];
  }
}

/** By the hosts' names; by a first label where no host has it for a name. */
function hostIndex<V extends SelectableVm>(vms: readonly V[]): ReadonlyMap<string, readonly V[]> {
  const byName = groupBy(vms, ({ host }) => host);
  return new Map([...groupBy(vms, ({ host }) => host.split('.')[0] ?? ''), ...byName]);
}

function isOnHost({ host }: SelectableVm, glob: string): boolean {
  return matchesGlob(glob, host) || matchesGlob(glob, host.split('.')[0] ?? '');
}

function unmatched(pattern: string, count: number, missing: readonly string[]): Error {
  const message =
    missing.length === count
      ? `VM pattern "${pattern}" matches no VM`
      : `VM pattern "${pattern}": there is no VM ${listOf(missing, SHOWN)}`;
  return notFound(message, { vm: pattern, missing: missing.slice(0, 50).join(' '), hint: 'see domherd vm list' });
}

function listOf(texts: readonly string[], max: number, gap = ', '): string {
  return [...texts.slice(0, max), ...(texts.length > max ? ['...'] : [])].join(gap);
}

function selectNamed<V extends SelectableVm>(text: string, directory: NameIndex<V>): V {
  const matches = preferPresent(matchesOf(text, directory));
  const [first] = matches;
  if (first === undefined) throw unknownVm(text, directory);
  if (matches.length > 1) throw ambiguousVm(text, matches);
  return first;
}

function matchesOf<V extends SelectableVm>(text: string, directory: NameIndex<V>): readonly V[] {
  // xl takes a name of digits for a domid, so no VM that it can manage has one (name.ts).
  const byId = /^\d{1,10}$/.test(text) ? directory.byId(Number(text)) : undefined;
  if (byId) return [byId];
  const byName = directory.byName(text);
  const at = text.lastIndexOf('@');
  if (byName.length > 0 || at < 0) return byName;
  return directory.onHost(text.slice(0, at), text.slice(at + 1).toLowerCase());
}

function preferPresent<V extends SelectableVm>(vms: readonly V[]): readonly V[] {
  const present = vms.filter((vm) => !vm.isGone);
  return present.length > 0 ? present : vms;
}

function ambiguousVm(text: string, matches: readonly SelectableVm[]): Error {
  const labels = matches.map(labelOf);
  // Two cfg files of one host may have one name: then only the id tells them apart.
  const isUnique = new Set(labels).size === labels.length;
  const candidates = matches.map((vm) => (isUnique ? labelOf(vm) : `${labelOf(vm)} (id ${vm.id})`)).sort();
  return invalid(`VM name "${text}" belongs to ${matches.length} VMs: ${listOf(candidates, SHOWN)}`, {
    vm: text,
    candidates: candidates.slice(0, 50).join(' '),
    hint: isUnique ? 'give NAME@HOST' : 'give the id',
  });
}

function unknownVm(text: string, directory: VmDirectory<SelectableVm>): Error {
  const vms = directory.all();
  const names = text.includes('@') ? vms.map(labelOf) : vms.map((vm) => vm.name);
  const close = closestNames(text, names);
  const hint = close.length > 0 ? `did you mean ${close.join(' or ')}?` : 'see domherd vm list';
  return notFound(`VM "${text}" is unknown`, { vm: text, hint });
}

function labelOf(vm: SelectableVm): string {
  return `${vm.name}@${vm.host}`;
}
