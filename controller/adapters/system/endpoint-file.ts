import { renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What is bound, for tools and tests: with port 0 nobody could know. */
export interface Endpoints {
  readonly pid: number;
  /** Path of the unix socket. */
  readonly socket: string;
  /** "host:port"; missing when off. */
  readonly listen?: string | undefined;
  readonly joinListen?: string | undefined;
}

/** Whole at any time. Not fsynced: after a power cut it would be stale anyway. */
export function writeEndpoints(dataDir: string, endpoints: Endpoints): void {
  const draft = `${pathIn(dataDir)}.tmp`;
  writeFileSync(draft, `${JSON.stringify(endpoints)}\n`, { mode: 0o600 });
  renameSync(draft, pathIn(dataDir));
}

export function removeEndpoints(dataDir: string): void {
  rmSync(pathIn(dataDir), { force: true });
}

function pathIn(dataDir: string): string {
  return join(dataDir, 'endpoints.json');
}
