import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { AppError, invalid, messageOf, notFound, toAppError } from '../../../shared/errors.js';
import { formatSshPublicKey, parseSshPublicKey, type SshPublicKey } from '../../../shared/domain/ssh-public-key.js';
import type { Invocation } from '../invocation.js';
import { tell } from '../output.js';

export interface KeyOptions {
  /** Files with public keys. */
  readonly key?: readonly string[];
  /** False: none at all. */
  readonly keys?: boolean;
}

export type Note = (text: string) => void;

/** A file of thousands is none of keys. */
const MAX_BYTES = 1024 * 1024;

/**
 * The public keys that VMs are to let in: those of ~/.ssh/*.pub and ~/.ssh/authorized_keys, and of the files that are named.
 * Lines of the former that are no plain key (options, certificates) are left out and told of.
 *
 * @param note told what people should know
 * @returns lines of an authorized_keys file, each key once
 * @throws {AppError} `not_found`, `invalid` (a named file that has anything else than public keys)
 */
export async function userKeys(
  call: Invocation,
  { key = [], keys = true }: KeyOptions,
  note: Note,
): Promise<readonly string[]> {
  if (!keys) return [];
  const found = [...(await ownKeys(call, note)), ...(await namedKeys(key))];
  const lines = uniqueLines(found);
  if (lines.length === 0) note('no ssh key of yours is put into VMs: there is none in ~/.ssh; make one by ssh-keygen');
  return lines;
}

/** As {@link userKeys}, of the named files; of ~/.ssh if none is named. @throws {AppError} also `not_found` if there is no key */
export async function keysToPush(call: Invocation, files: readonly string[]): Promise<readonly string[]> {
  const own = async (): Promise<readonly SshPublicKey[]> => ownKeys(call, (text) => tell(call, text));
  const lines = uniqueLines(files.length > 0 ? await namedKeys(files) : await own());
  if (lines.length > 0) return lines;
  throw notFound('there is no public key in ~/.ssh', { hint: 'make one by ssh-keygen, or name a file: --key FILE' });
}

/** A key that comes twice has its first comment. */
function uniqueLines(keys: readonly SshPublicKey[]): readonly string[] {
  const lines = new Map<string, string>();
  for (const key of keys) if (!lines.has(key.blob)) lines.set(key.blob, formatSshPublicKey(key));
  return [...lines.values()];
}

async function ownKeys(call: Invocation, note: Note): Promise<readonly SshPublicKey[]> {
  const folder = join(call.world.user().home, '.ssh');
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith('.pub')).sort();
  const keys: SshPublicKey[] = [];
  for (const name of [...names, 'authorized_keys']) {
    const path = join(folder, name);
    const lines = linesOf(await readFile(path, 'utf8').catch(() => ''));
    const parsed = lines.flatMap((line) => parsedOrNone(line));
    keys.push(...parsed);
    const left = lines.length - parsed.length;
    if (left > 0)
      note(`${path}: ${left === 1 ? 'a line is' : `${String(left)} lines are`} left out: no plain public key`);
  }
  return keys;
}

function parsedOrNone(line: string): readonly SshPublicKey[] {
  try {
    return [parseSshPublicKey(line)];
  } catch {
    return [];
  }
}

async function namedKeys(paths: readonly string[]): Promise<readonly SshPublicKey[]> {
  const keys: SshPublicKey[] = [];
  for (const path of paths) keys.push(...(await keysIn(path)));
  return keys;
}

async function keysIn(path: string): Promise<readonly SshPublicKey[]> {
  const bytes = await readFile(path).catch((error: unknown) => {
    const hint = 'name a file with a public key, such as ~/.ssh/id_ed25519.pub';
    throw new AppError('not_found', `${path} cannot be read: ${messageOf(error)}`, { path, hint }, error);
  });
  const text = bytes.subarray(0, MAX_BYTES).toString();
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) {
    throw invalid(`${path} is a private key, which must not leave your account`, {
      path,
      hint: `give the public one: ${path}.pub`,
    });
  }
  const lines = linesOf(text);
  if (lines.length === 0) throw invalid(`${basename(path)} has no key in it`, { path });
  return lines.map((line, n) => {
    try {
      return parseSshPublicKey(line);
    } catch (error) {
      const { message, details } = toAppError(error);
      throw invalid(`${path}, key ${String(n + 1)}: ${message}`, { ...details, path });
    }
  });
}

function linesOf(text: string): readonly string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}
