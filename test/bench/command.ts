import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { Fleet } from '../harness/fleet.js';
import { median } from './report.js';

const RUNS = 11;

/** Milliseconds of whole processes, median; the two take turns, so that the machine's moods hit both. */
export function measureHelp(): { readonly help: number; readonly bare: number } {
  const cli = join(process.cwd(), 'dist', 'cli', 'domherd.mjs');
  const help: number[] = [];
  const bare: number[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    help.push(timeNode([cli, '--help']));
    bare.push(timeNode(['-e', '0']));
  }
  return { help: median(help), bare: median(bare) };
}

/** @returns milliseconds of a whole process */
export function timeNode(args: readonly string[]): number {
  const start = performance.now();
  const { status } = spawnSync(process.execPath, args, { stdio: 'ignore' });
  if (status !== 0) throw new Error(`node ${args.join(' ')} ended with ${String(status)}`);
  return performance.now() - start;
}

/** Milliseconds of `domherd lease list`, median of three. */
export async function measureLeaseList(fleet: Fleet): Promise<{ readonly ms: number; readonly leases: number }> {
  const runs: number[] = [];
  let leases = 0;
  for (let run = 0; run < 3; run += 1) {
    const start = performance.now();
    const listed = await fleet.domherd(['lease', 'list', '--no-headers', '--reservation', 'list']);
    runs.push(performance.now() - start);
    leases = listed.stdout.trimEnd().split('\n').length;
  }
  return { ms: median(runs), leases };
}
