/**
 * The X.509 library, ready to use. Import it from here, never from the package: that needs the three functions of the
 * `reflect-metadata` proposal in place before its first line runs (README of @peculiar/x509, "Reflect Polyfill Required"),
 * and a bundler moves plain imports to the top.
 */
import type * as X509Module from '@peculiar/x509';

interface ReflectMetadata {
  getMetadata(key: unknown, target: object): unknown;
  getOwnMetadata(key: unknown, target: object): unknown;
  defineMetadata(key: unknown, value: unknown, target: object): void;
}

const entries = new WeakMap<object, Map<unknown, unknown>>();

/** As much of the proposal as tsyringe, which is inside the library, calls. */
const reflectMetadata: ReflectMetadata = {
  getOwnMetadata: (key, target) => entries.get(target)?.get(key),
  getMetadata(key, target) {
    const own = entries.get(target);
    if (own?.has(key)) return own.get(key);
    const parent: unknown = Object.getPrototypeOf(target);
    return typeof parent === 'object' && parent !== null ? this.getMetadata(key, parent) : undefined;
  },
  defineMetadata(key, value, target) {
    const own = entries.get(target) ?? new Map<unknown, unknown>();
    entries.set(target, own.set(key, value));
  },
};

// A real polyfill that somebody loaded before stays.
if (!('getMetadata' in Reflect)) Object.assign(Reflect, reflectMetadata);

type X509 = typeof X509Module;
const loaded: X509 & { readonly default?: unknown } = await import('@peculiar/x509');

// A bundler that splits its output gives what a CommonJS package exports as the default, and nothing else.
export const x509: X509 = (loaded.default as X509 | undefined) ?? loaded;
