// Layout of the state folder:
//   identity -> identity.4f2a19c0     the only name that counts; a rename of the link changes all files of it at once, so
//   identity.4f2a19c0/key.pem         no crash ever pairs a key with another key's certificate
//                     cert.pem  ca.pem  meta.json
//   identity.moved-1/                 one that was moved aside
//   join.key                          the key of a join that is under way
import { randomBytes } from 'node:crypto';
import { lstat, mkdir, readdir, readFile, readlink, rename, rm, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { AppError, messageOf, wrongState } from '../../../shared/errors.js';
import type { Identity } from '../../domain/identity.js';
import type { IdentityStore } from '../../ports/identity-store.js';
import type { KeyMaker } from '../../ports/key-maker.js';
import { fileError, syncFolder, unlessMissing, writeFileAtomically } from './atomic-file.js';

const Meta = v.object({
  host: v.string(),
  addresses: v.array(v.string()),
  joinAddresses: v.array(v.string()),
  deploymentId: v.string(),
});

const SECRET = { mode: 0o600 };
const PUBLIC = { mode: 0o644 };

export class DirIdentityStore implements IdentityStore {
  readonly #stateDir: string;
  readonly #keys: Pick<KeyMaker, 'readValidity'>;

  /** @param stateDir absolute; exists */
  constructor(stateDir: string, keys: Pick<KeyMaker, 'readValidity'>) {
    this.#stateDir = stateDir;
    this.#keys = keys;
  }

  get #link(): string {
    return join(this.#stateDir, 'identity');
  }

  async load(): Promise<Identity | undefined> {
    const read = (name: string): Promise<string> => readFile(join(this.#link, name), 'utf8');
    try {
      const metaText = await unlessMissing(read('meta.json'));
      if (metaText === undefined) return undefined;
      const [keyPem, certificatePem, caPem] = await Promise.all([read('key.pem'), read('cert.pem'), read('ca.pem')]);
      const meta = v.parse(Meta, JSON.parse(metaText));
      return { ...meta, keyPem, certificatePem, caPem, ...this.#keys.readValidity(certificatePem) };
    } catch (error) {
      const details = { path: this.#link, hint: 'remove it and join anew' };
      throw new AppError('wrong_state', `${this.#link} cannot be read: ${messageOf(error)}`, details, error);
    }
  }

  async save(identity: Identity): Promise<void> {
    const name = `identity.${randomBytes(4).toString('hex')}`;
    const temporaryLink = join(this.#stateDir, `.${name}.tmp`);
    try {
      await this.#writeFiles(join(this.#stateDir, name), identity);
      await symlink(name, temporaryLink);
      await this.#clearTheWay();
      await rename(temporaryLink, this.#link);
      await syncFolder(this.#stateDir);
    } catch (error) {
      await rm(temporaryLink, { force: true });
      throw error instanceof AppError ? error : fileError(`${this.#link} cannot be written`, error);
    }
    await rm(this.#pendingPath, { force: true });
    await this.#removeOthers(name);
  }

  async moveAside(): Promise<string | undefined> {
    const target = await unlessMissing(readlink(this.#link));
    if (target === undefined) return undefined;
    const taken = new Set(await readdir(this.#stateDir));
    let n = 1;
    while (taken.has(`identity.moved-${n}`)) n += 1;
    const aside = join(this.#stateDir, `identity.moved-${n}`);
    // From here on the link leads nowhere, which reads as no identity.
    await rename(join(this.#stateDir, target), aside);
    await unlink(this.#link);
    await syncFolder(this.#stateDir);
    return aside;
  }

  loadPendingKey(): Promise<string | undefined> {
    return unlessMissing(readFile(this.#pendingPath, 'utf8'));
  }

  savePendingKey(keyPem: string): Promise<void> {
    return writeFileAtomically(this.#pendingPath, Buffer.from(keyPem), SECRET);
  }

  get #pendingPath(): string {
    return join(this.#stateDir, 'join.key');
  }

  async #writeFiles(folder: string, identity: Identity): Promise<void> {
    const { keyPem, certificatePem, caPem, host, addresses, joinAddresses, deploymentId } = identity;
    await mkdir(folder, { mode: 0o700 });
    const meta = `${JSON.stringify({ host, addresses, joinAddresses, deploymentId }, null, 2)}\n`;
    await writeFileAtomically(join(folder, 'key.pem'), Buffer.from(keyPem), SECRET);
    await writeFileAtomically(join(folder, 'cert.pem'), Buffer.from(certificatePem), PUBLIC);
    await writeFileAtomically(join(folder, 'ca.pem'), Buffer.from(caPem), PUBLIC);
    await writeFileAtomically(join(folder, 'meta.json'), Buffer.from(meta), PUBLIC);
  }

  /** A folder under the link's name would stop the rename; whoever put it there may want it back. */
  async #clearTheWay(): Promise<void> {
    const found = await unlessMissing(lstat(this.#link));
    if (found !== undefined && !found.isSymbolicLink()) {
      throw wrongState(`${this.#link} is in the way: it is no link`, { hint: `move ${this.#link} away` });
    }
  }

  /** What a crash between two steps left behind, and the one before. */
  async #removeOthers(name: string): Promise<void> {
    const others = (await readdir(this.#stateDir)).filter((other) => /^identity\.[\da-f]{8}$/.test(other));
    const old = others.filter((other) => other !== name).map((other) => join(this.#stateDir, other));
    await Promise.all(old.map((path) => rm(path, { recursive: true, force: true })));
  }
}
