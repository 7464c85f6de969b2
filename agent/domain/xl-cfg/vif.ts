// Invariants:
// - Vifs are counted as xl counts them: over `vif = [..]` and every `vif += [..]` after it, in file order.
// - An edit touches the bytes of one value (or one parameter and its comma) inside the quotes, nothing else.
import { invalid, notFound } from '../../../shared/errors.js';
import { parseMac } from '../../../shared/domain/mac.js';
import { splice } from './edit.js';
import { type Position, positionAt, refuseAt } from './fault.js';
import { encodeString, escapeFor, offsetInText, refuseInAtom } from './string-literal.js';
import type { Atom, XlCfg } from './syntax.js';
import { isTemplateMac, macAsXlReads } from './vif-mac.js';
import {
  findVifParameter,
  isVifParameterName,
  parseVifSpec,
  planRemoveVifParameter,
  planSetVifParameter,
  type VifSpec,
  type VifSpecEdit,
} from './vif-spec.js';
import { listAtoms } from './xl-cfg.js';

/** One entry of the vif list. Its line and column are those of its opening quote. */
export interface Vif extends Position {
  /** From 0; the number in xl's vif names. */
  readonly index: number;
  readonly spec: VifSpec;
  /** As written; `undefined` without one: libxl then invents one at each create. */
  readonly mac: string | undefined;
  /** A place holder like `00:16:3E:xx:xx:xx`, which xl does not refuse: see {@link macAsXlReads}. */
  readonly isTemplateMac: boolean;
  /** The MAC that the domain gets from this file, lower case with colons; `undefined` if libxl invents one. */
  readonly macAsXlReads: string | undefined;
  readonly bridge: string | undefined;
  readonly ip: string | undefined;
  readonly script: string | undefined;
}

/**
 * Empty if the cfg has no vif list; a `vif` that is a string counts as none, with xl too.
 *
 * @throws {AppError} `invalid` with `line` and `column` for an entry that {@link parseVifSpec} refuses
 */
export function listVifs(cfg: XlCfg): readonly Vif[] {
  return (listAtoms(cfg, 'vif') ?? []).map((atom, index) => vifOf(cfg, atom, index));
}

/**
 * Replaces the value of a parameter, or adds the parameter. A value that is there already changes nothing.
 *
 * @param vifIndex from 0
 * @param name one that xl knows and that takes a value
 * @param value not empty, no comma, no blank at either end; a mac is six pairs of hex digits
 * @throws {AppError} `not_found` for an unknown index; `invalid` for a name or value that xl would not take as it stands
 */
export function setVifParameter(cfg: XlCfg, vifIndex: number, name: string, value: string): XlCfg {
  checkSetting(name, value);
  const { atom, spec } = vifAt(cfg, vifIndex);
  if (findVifParameter(spec, name)?.value === value) return cfg;
  const edited = applyEdit(cfg, atom, planSetVifParameter(spec, name, value));
  vifAt(edited, vifIndex);
  return edited;
}

/**
 * Takes a parameter out, every one of that name, each with its comma. One that is not there changes nothing.
 *
 * @param vifIndex from 0
 * @throws {AppError} `not_found` for an unknown index
 */
export function removeVifParameter(cfg: XlCfg, vifIndex: number, name: string): XlCfg {
  const { atom, spec } = vifAt(cfg, vifIndex);
  const edit = planRemoveVifParameter(spec, name);
  return edit === undefined ? cfg : removeVifParameter(applyEdit(cfg, atom, edit), vifIndex, name);
}

/**
 * Adds a vif behind the others, without a MAC.
 *
 * @param bridge no comma, no blank at either end
 * @throws {AppError} `invalid` if the cfg has no list of vifs, or xl would not take the bridge
 */
export function addVif(cfg: XlCfg, bridge: string): XlCfg {
  checkSetting('bridge', bridge);
  const last = listAtoms(cfg, 'vif')?.at(-1);
  if (last === undefined) throw invalid('The cfg has no vif that another one could be added to');
  return splice(cfg, { start: last.end, end: last.end }, `, ${encodeString(`bridge=${bridge}`, last.quote ?? "'")}`);
}

function vifOf(cfg: XlCfg, atom: Atom, index: number): Vif {
  const spec = parseVifSpec(atom.value, refuseInAtom(cfg.text, atom));
  const mac = findVifParameter(spec, 'mac')?.value;
  return {
    index,
    ...positionAt(cfg.text, atom.start),
    spec,
    mac,
    isTemplateMac: mac !== undefined && isTemplateMac(mac),
    macAsXlReads: mac === undefined ? undefined : macAsXlReads(mac),
    bridge: findVifParameter(spec, 'bridge')?.value,
    ip: findVifParameter(spec, 'ip')?.value,
    script: findVifParameter(spec, 'script')?.value,
  };
}

function vifAt(cfg: XlCfg, vifIndex: number): { readonly atom: Atom; readonly spec: VifSpec } {
  const atom = listAtoms(cfg, 'vif')?.[vifIndex];
  if (atom === undefined) {
    throw notFound(`The configuration has no vif ${vifIndex}`, { vif: `${vifIndex}`, hint: 'vifs count from 0' });
  }
  return { atom, spec: parseVifSpec(atom.value, refuseInAtom(cfg.text, atom)) };
}

function applyEdit(cfg: XlCfg, atom: Atom, edit: VifSpecEdit): XlCfg {
  if (atom.quote === undefined) {
    throw refuseAt(cfg.text, atom.start, 'a vif is a bare number', "write vifs as quoted strings: 'bridge=xenbr0'");
  }
  const start = offsetInText(cfg.text, atom, edit.start);
  const end = offsetInText(cfg.text, atom, edit.end);
  return splice(cfg, { start, end }, escapeFor(edit.text, atom.quote));
}

function checkSetting(name: string, value: string): void {
  if (!isVifParameterName(name)) {
    throw invalid(`"${name}" is not a vif parameter that xl knows`, { name, hint: 'see xl-network-configuration(5)' });
  }
  if (value === '' || value.includes(',') || value.trim() !== value) {
    throw invalid(`"${value}" cannot be the ${name} of a vif`, {
      name,
      value,
      hint: 'no commas, no blanks at the ends',
    });
  }
  if (name === 'mac') parseMac(value);
  if (name === 'type' && value !== 'vif' && value !== 'ioemu') {
    throw invalid(`"${value}" is not a type of vif`, { name, value, hint: 'use vif or ioemu' });
  }
}
