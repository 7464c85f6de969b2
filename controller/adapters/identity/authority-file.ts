import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, statSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { AppError, messageOf, wrongState } from '../../../shared/errors.js';

/** PEM. */
export interface AuthorityFiles {
  readonly certificatePem: string;
  /** PKCS #8. Secret. */
  readonly keyPem: string;
}

const CERTIFICATE_FILE = 'ca.crt';
const KEY_FILE = 'ca.key';

/**
 * `undefined`: the CA was not made yet.
 *
 * @throws {AppError} `wrong_state` if the key is missing or open to others; `unavailable` if it cannot be read
 */
export function readAuthority(dataDir: string): AuthorityFiles | undefined {
  const certificatePem = readIfThere(join(dataDir, CERTIFICATE_FILE));
  // A key alone is what a crash between the two writes leaves: with it nothing was issued yet.
  if (certificatePem === undefined) return undefined;
  const keyPath = join(dataDir, KEY_FILE);
  const keyPem = readIfThere(keyPath);
  if (keyPem === undefined) {
    throw wrongState(`${keyPath} is missing, but ${CERTIFICATE_FILE} is there`, {
      path: keyPath,
      hint: `restore it from a backup, or remove ${CERTIFICATE_FILE} and let every host join anew`,
    });
  }
  checkMode(keyPath);
  return { certificatePem, keyPem };
}

/** Durable on return; the certificate last, since it is what makes the pair count. @throws {AppError} `unavailable` */
export function writeAuthority(dataDir: string, files: AuthorityFiles): void {
  writeWhole(join(dataDir, KEY_FILE), files.keyPem, 0o600);
  writeWhole(join(dataDir, CERTIFICATE_FILE), files.certificatePem, 0o644);
}

/** Whole at any time, whenever the power fails. @throws {AppError} `unavailable` */
export function writeWhole(path: string, text: string, mode: number): void {
  const draft = `${path}.${String(process.pid)}.tmp`;
  try {
    const file = openSync(draft, 'w', mode);
    try {
      writeSync(file, text);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, path);
    syncFolder(dirname(path));
  } catch (error) {
    rmSync(draft, { force: true });
    throw unavailable(`${path} cannot be written`, error);
  }
}

function syncFolder(path: string): void {
  const folder = openSync(path, 'r');
  try {
    fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw unavailable(`${path} cannot be read`, error);
  }
}

function checkMode(path: string): void {
  const mode = statSync(path).mode & 0o777;
  if ((mode & 0o077) === 0) return;
  throw wrongState(`${path} is open to others (mode ${mode.toString(8)})`, {
    path,
    hint: `chmod 600 ${path}; whoever read it can pass for any host`,
  });
}

function unavailable(message: string, error: unknown): AppError {
  return new AppError('unavailable', `${message}: ${messageOf(error)}`, {}, error);
}
