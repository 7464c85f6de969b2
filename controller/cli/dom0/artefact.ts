import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import * as v from 'valibot';
import { AppError, messageOf } from '../../../shared/errors.js';

/** The agent as it is copied to a dom0. */
export interface Artefact {
  /** Absolute. */
  readonly path: string;
  /** Release and content: "0.1.0+17c00274". */
  readonly version: string;
  /** As `uname -m` has it. */
  readonly arch: string;
  /** The oldest that its Node runs with. */
  readonly glibc: string;
  /** Of the Node in it. */
  readonly node: string;
  /** Hex. */
  readonly nodeSha256: string;
  readonly unpackedKib: number;
  /** Of the whole archive. */
  readonly bytes: number;
  /** Of its first part, which has all but Node. */
  readonly agentBytes: number;
}

const Facts = v.object({
  file: v.pipe(v.string(), v.regex(/^[\w.+-]+$/)),
  version: v.pipe(v.string(), v.regex(/^\d[\w.+-]*$/)),
  arch: v.string(),
  glibc: v.string(),
  node: v.string(),
  nodeSha256: v.string(),
  unpackedKib: v.number(),
  bytes: v.number(),
  agentBytes: v.number(),
});

/**
 * @param facts path of `artefact.json`, beside the archive that it tells of
 * @throws {AppError} `not_found` if there is none
 */
export async function readArtefact(facts: string): Promise<Artefact> {
  try {
    const { file, ...rest } = v.parse(Facts, JSON.parse(await readFile(facts, 'utf8')));
    return { ...rest, path: join(dirname(facts), file) };
  } catch (error) {
    throw new AppError(
      'not_found',
      `there is no agent to install: ${messageOf(error)}`,
      { path: facts, hint: 'make it with: npm run build; or give one: --artefact dist/agent/artefact.json' },
      error,
    );
  }
}

/** The archive's bytes, all or those of its first part. */
export function openArtefact(artefact: Artefact, withNode: boolean): AsyncIterable<Uint8Array> {
  return createReadStream(artefact.path, withNode ? {} : { end: artefact.agentBytes - 1 });
}
