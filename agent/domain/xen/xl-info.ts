import { AppError } from '../../../shared/errors.js';

export interface XlInfo {
  /** "4.17.7" */
  readonly xenVersion: string;
  /** Of the machine, not of dom0. */
  readonly cpus: number;
  readonly memoryMib: number;
  /** What a new domain may get without taking from another. */
  readonly memoryFreeMib: number;
  /** Whether Xen can follow what a running PV domain writes. Debian's is built without it; old ones do not tell, and can. */
  readonly hasShadowPaging: boolean;
}

/** @throws {AppError} `unavailable` for what `xl info` does not print */
export function parseXlInfo(text: string): XlInfo {
  const pairs = [...text.matchAll(/^([a-z_]+) *: *(.*?) *$/gm)].map(([, key, value]) => [key, value] as const);
  const values = new Map(pairs);
  const count = (key: string): number => {
    const value = values.get(key);
    if (value !== undefined && /^\d+$/.test(value)) return Number(value);
    throw new AppError('unavailable', `xl info does not tell ${key}`, { output: text.slice(0, 200) });
  };
  return {
    xenVersion: values.get('xen_version') ?? '',
    cpus: count('nr_cpus'),
    memoryMib: count('total_memory'),
    memoryFreeMib: count('free_memory'),
    hasShadowPaging: values.get('virt_caps')?.split(' ').includes('shadow') ?? true,
  };
}
