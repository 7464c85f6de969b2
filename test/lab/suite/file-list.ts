import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from '../lab.js';

/** What a running system writes by itself. */
const OWN = ['/proc', '/sys', '/dev', '/run', '/tmp', '/var/log', '/var/tmp', '/var/cache', '/var/lib/systemd'];

/** Every file of the root file system with size, mode and owner; but for what a running system writes by itself. */
export function listFiles(lab: Lab, host: string): Promise<string> {
  const skipped = OWN.map((path) => `-path ${path}`).join(' -o ');
  return lab.must(
    host,
    `find / -xdev \\( ${skipped} \\) -prune -o -type d -printf '%p %m %U\\n' -o -printf '%p %s %m %U %l\\n' | sort`,
  );
}

/** Kept with the frontend's home, for a group that begins where this one ends. */
export async function noteFiles(lab: Lab, host: string): Promise<void> {
  writeFileSync(pathOf(lab, host), await listFiles(lab, host));
}

export function notedFiles(lab: Lab, host: string): string {
  return readFileSync(pathOf(lab, host), 'utf8');
}

function pathOf(lab: Lab, host: string): string {
  return join(lab.frontend.home, `${host}.files`);
}
