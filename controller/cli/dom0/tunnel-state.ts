import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import * as v from 'valibot';

const Schema = v.object({
  isUp: v.boolean(),
  /** Since when, milliseconds since 1970. */
  sinceMs: v.number(),
  /** Why it is down; empty: it is being opened. */
  reason: v.string(),
});

/** What the keeper of tunnels last said of one. It holds only while the keeper lives. */
export type TunnelState = Readonly<v.InferOutput<typeof Schema>>;

/** `undefined`: nothing was said. */
export async function readTunnelState(path: string): Promise<TunnelState | undefined> {
  try {
    return v.parse(Schema, JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return undefined;
  }
}

export async function writeTunnelState(path: string, state: TunnelState): Promise<void> {
  await writeFile(`${path}.tmp`, JSON.stringify(state));
  await rename(`${path}.tmp`, path);
}

export async function removeTunnelState(path: string): Promise<void> {
  await rm(path, { force: true });
}
