import type { SetOrder } from './order.js';
import type { DomainLimits } from './vm.js';
import { removeKey, setNumber, setString } from './xl-cfg/edit.js';
import type { Atom, XlCfg } from './xl-cfg/syntax.js';
import { effectiveParts, getNumber } from './xl-cfg/xl-cfg.js';

/** What a domain is given while it runs. */
export interface Resize {
  readonly memoryMib?: number | undefined;
  readonly vcpus?: number | undefined;
}

export interface SetPlan {
  readonly cfg: XlCfg;
  readonly resize: Resize;
  /** For people: what counts only from the next start on, and why. */
  readonly warnings: readonly string[];
}

/**
 * @param limits of the domain; `undefined`: there is none
 * @throws {AppError} `invalid` if the cfg cannot be edited so
 */
export function planSet(name: string, cfg: XlCfg, order: SetOrder, limits: DomainLimits | undefined): SetPlan {
  const { memoryMib, vcpus, settings } = order;
  const sized = withSize(withSize(cfg, 'memory', 'maxmem', memoryMib), 'vcpus', 'maxvcpus', vcpus);
  const edited = settings.reduce((text, { key, value }) => withSetting(text, key, value), sized);
  if (limits === undefined) return { cfg: edited, resize: {}, warnings: [] };
  const fits = (wanted: number | undefined, most: number): boolean => wanted !== undefined && wanted <= most;
  const late = [
    ...(memoryMib !== undefined && memoryMib > limits.memoryMib
      ? [`${String(memoryMib)} MiB (it was started with ${String(limits.memoryMib)} at most)`]
      : []),
    ...(vcpus !== undefined && vcpus > limits.vcpus
      ? [`${String(vcpus)} vcpus (it was started with ${String(limits.vcpus)} at most)`]
      : []),
    ...settings.map(({ key }) => key),
  ];
  return {
    cfg: edited,
    resize: {
      ...(fits(memoryMib, limits.memoryMib) && { memoryMib }),
      ...(fits(vcpus, limits.vcpus) && { vcpus }),
    },
    warnings:
      late.length === 0 ? [] : [`${late.join(', ')}: from its next start on; domherd vm restart ${name} is one`],
  };
}

/** xl refuses more than the most that the cfg allows. */
export function withSize(cfg: XlCfg, key: string, maxKey: string, size: number | undefined): XlCfg {
  if (size === undefined) return cfg;
  const max = getNumber(cfg, maxKey);
  const sized = setNumber(cfg, key, size);
  return max !== undefined && max < size ? setNumber(sized, maxKey, size) : sized;
}

function withSetting(cfg: XlCfg, key: string, value: string): XlCfg {
  if (value === '') return removeKey(cfg, key);
  const isNumber = /^(0|[1-9]\d{0,14})$/.test(value);
  return isNumber && !isQuoted(cfg, key) ? setNumber(cfg, key, Number(value)) : setString(cfg, key, value);
}

function isQuoted(cfg: XlCfg, key: string): boolean {
  const value: Atom | { readonly kind: 'list' } | undefined = effectiveParts(cfg, key).at(-1)?.value;
  return value?.kind === 'atom' && value.quote !== undefined;
}
