import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError } from '../../../shared/errors.js';
import { outputOf, type Exec } from '../../../shared/exec.js';
import type { HostKey, HostKeyType } from '../../domain/guest/renew-plan.js';

/** 3,072 bits of RSA take seconds on a slow machine. */
const KEY_MS = 60_000;

interface KeyPlace {
  /** Of the guest, for the comment. */
  readonly name: string;
  /** A folder that goes when the keys are in the guest. */
  readonly work: string;
  readonly signal: AbortSignal;
}

/** New ssh host keys, by the ssh-keygen of dom0. @throws {AppError} `unavailable` */
export async function makeHostKeys(
  exec: Exec,
  types: readonly HostKeyType[],
  { name, work, signal }: KeyPlace,
): Promise<ReadonlyMap<HostKeyType, HostKey>> {
  const keys = new Map<HostKeyType, HostKey>();
  for (const type of types) {
    const path = join(work, `host-key-${type}`);
    const command = ['ssh-keygen', '-q', '-t', type, '-N', '', '-C', `root@${name}`, '-f', path] as const;
    const result = await exec.run(command, { timeoutMs: KEY_MS, signal });
    signal.throwIfAborted();
    if (result.kind === 'missing') {
      const hint = 'apt-get install openssh-client, on the dom0';
      throw new AppError('unavailable', 'ssh host keys cannot be made: there is no ssh-keygen', { hint });
    }
    if (result.kind !== 'ok')
      throw new AppError('unavailable', 'ssh host keys cannot be made', { output: outputOf(result) });
    const [privateText, publicText] = await Promise.all([readFile(path, 'latin1'), readFile(`${path}.pub`, 'latin1')]);
    keys.set(type, { privateText, publicText });
  }
  return keys;
}
