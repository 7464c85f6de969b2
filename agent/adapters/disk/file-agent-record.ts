import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { wrongState } from '../../../shared/errors.js';
import type { AgentRecord, AgentStatus } from '../../ports/agent-record.js';
import { unlessMissing, writeFileAtomically } from './atomic-file.js';

const Status = v.object({
  version: v.string(),
  isSimulated: v.boolean(),
  pid: v.number(),
  startedAtMs: v.number(),
  session: v.variant('kind', [
    v.object({ kind: v.literal('open'), address: v.string(), sinceMs: v.number(), controllerVersion: v.string() }),
    v.object({ kind: v.literal('closed'), sinceMs: v.number(), reason: v.string() }),
  ]),
});

/** `session-counter` and `status.json` in the state folder. */
export class FileAgentRecord implements AgentRecord {
  readonly #counterPath: string;
  readonly #statusPath: string;

  /** @param stateDir absolute; exists */
  constructor(stateDir: string) {
    this.#counterPath = join(stateDir, 'session-counter');
    this.#statusPath = join(stateDir, 'status.json');
  }

  async nextSessionCounter(): Promise<number> {
    const text = (await unlessMissing(readFile(this.#counterPath, 'utf8')))?.trim() ?? '0';
    const next = Number(text) + 1;
    // Beginning anew at 1 would look like a restored image to the controller.
    if (!/^\d+$/.test(text) || next > 0xffff_ffff) {
      throw wrongState(`${this.#counterPath} holds no number`, {
        path: this.#counterPath,
        hint: 'remove it, join anew',
      });
    }
    await writeFileAtomically(this.#counterPath, Buffer.from(`${next}\n`), { mode: 0o600 });
    return next;
  }

  /** Not synced: after a power cut, nobody asks for the status before. */
  async writeStatus(status: AgentStatus): Promise<void> {
    await writeFile(this.#statusPath, `${JSON.stringify(status, null, 2)}\n`, { mode: 0o644 });
  }

  async readStatus(): Promise<AgentStatus | undefined> {
    const text = await unlessMissing(readFile(this.#statusPath, 'utf8'));
    if (text === undefined) return undefined;
    try {
      return v.parse(Status, JSON.parse(text));
    } catch {
      return undefined;
    }
  }
}
