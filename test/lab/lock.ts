import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LabPlace } from './lab.js';

/** Says that this process uses the lab. @returns to be called at the end @throws {Error} that names who uses it */
export function lockLab({ root, name }: LabPlace): () => void {
  const folder = join(root, 'run');
  const file = join(folder, `${name}.lock`);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const holder = livingHolder(file);
  if (holder !== undefined)
    throw new Error(`the lab ${name} is used by process ${String(holder)}; for a second one: DOMHERD_LAB_NAME=other`);
  writeFileSync(file, String(process.pid));
  return () => rmSync(file, { force: true });
}

/** On Ctrl-C and on SIGTERM: nothing that was started is left behind. */
export function endOnSignal(end: () => Promise<void>): void {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      console.error(`${signal}: ending the lab`);
      void end().finally(() => process.exit(signal === 'SIGINT' ? 130 : 143));
    });
  }
}

function livingHolder(file: string): number | undefined {
  try {
    const pid = Number(readFileSync(file, 'utf8'));
    process.kill(pid, 0);
    return pid === process.pid ? undefined : pid;
  } catch {
    return undefined;
  }
}
