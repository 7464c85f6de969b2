import { setMaxListeners } from 'node:events';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import { pino } from 'pino';
import { AgentApp } from '../../agent/app.js';
import { parseSimOptions } from '../../agent/domain/sim-option.js';
import { joinController } from '../../agent/services/joining.js';
import { openSimParts } from '../../agent/sim-parts.js';
import { AppError } from '../../shared/errors.js';

// Many simulated agents in one process, each with a certificate and a session of its own: FOLDER COUNT, the token on stdin.
// Says "ready" and its process id when all run, and ends with its stdin's sender: SIGTERM.

const [folder = '', countText = ''] = process.argv.slice(2);
const count = Number(countText);
const FACTS = {
  ...{ agentVersion: 'bench', nodeVersion: process.version, kernel: 'bench', xenVersion: '', bootId: 'bench' },
  ...{ cpus: 32, memoryMib: 262_144, memoryFreeMib: 262_144 },
};
const hostReport = {
  readFacts: () => Promise.resolve(FACTS),
  readMemoryFreeMib: () => Promise.resolve(FACTS.memoryFreeMib),
};
const log = pino({ level: 'silent' });
const sim = parseSimOptions(['vms=2', 'boot-ms=0']);
const stopped = new AbortController();
// One for all of them.
setMaxListeners(0, stopped.signal);

async function startOne(n: number, token: string): Promise<void> {
  const host = `bench-${String(n)}`;
  const stateDir = join(folder, host);
  await mkdir(stateDir, { recursive: true });
  const parts = await openSimParts({ stateDir, sim, log, hostReport });
  for (;;) {
    try {
      await joinController(token, host, parts, AbortSignal.timeout(60_000));
      break;
    } catch (error) {
      // Joins are limited by address, and these all come from one.
      if (!(error instanceof AppError) || error.code !== 'unavailable') throw error;
      await delay(Number(error.details['retryAfterMs'] ?? 100) + 50);
    }
  }
  await new AgentApp(parts).start(stopped.signal);
}

async function main(): Promise<void> {
  const token = await text(process.stdin);
  const rest = Array.from({ length: count }, (_, n) => n + 1).values();
  const worker = async (): Promise<void> => {
    for (const n of rest) await startOne(n, token);
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  console.log(`ready ${String(process.pid)}`);
  await new Promise((resolve) => process.once('SIGTERM', resolve));
}

await main();
// Their state is thrown away: nothing is worth waiting for.
process.exit();
