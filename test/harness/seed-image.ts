import { copyFileSync } from 'node:fs';
import { SeedTools } from '../../agent/adapters/guest/seed-tools.js';
import { newSeed, type SeedFiles } from '../../agent/domain/seed/seed-files.js';
import { createExec } from '../../shared/exec.js';

const SEED = newSeed({ name: 'domU', authorizedKeys: [], userData: '#cloud-config\npackages: [vim]\n' });

const NEVER = new AbortController().signal;

/** A seed of domherd's, but for what is changed of it. */
export async function makeSeed(path: string, workFolder: string, change: Partial<SeedFiles> = {}): Promise<void> {
  const draft = await toolsIn(workFolder).draft({ ...SEED, ...change }, NEVER);
  copyFileSync(draft.path, path);
  await draft.remove();
}

export function readSeed(path: string, workFolder: string): Promise<SeedFiles | undefined> {
  return toolsIn(workFolder).read(path, NEVER);
}

function toolsIn(workFolder: string): SeedTools {
  return new SeedTools(createExec(process.env), workFolder);
}
