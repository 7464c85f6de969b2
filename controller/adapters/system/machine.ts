import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { hostname, networkInterfaces, userInfo } from 'node:os';
import type { Clock, RandomSource } from '../../ports/environment.js';

export const systemClock: Clock = { nowMs: () => Date.now() };

export const systemRandom: RandomSource = { bytes: (count) => randomBytes(count) };

/** IPv4 addresses that others can reach, in the order of the interfaces. */
export function localAddresses(): readonly string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ family, internal }) => family === 'IPv4' && !internal)
    .map(({ address }) => address);
}

/** Which machine, and which life of it. */
export function machineLife(): { readonly host: string; readonly bootId: string } {
  return { host: hostname(), bootId: readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim() };
}

/** The user of this process; his number where the system knows no name for it. */
export function userName(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'unknown');
  }
}
