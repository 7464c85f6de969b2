import type { IdentityStore } from '../ports/identity-store.js';
import type { KeyMaker } from '../ports/key-maker.js';

/** The key of the join that is under way, or a new one; kept before it is used. @returns PEM */
export async function ensurePendingKey(identities: IdentityStore, keys: KeyMaker): Promise<string> {
  const pending = await identities.loadPendingKey();
  if (pending !== undefined) return pending;
  const keyPem = await keys.makeKey();
  await identities.savePendingKey(keyPem);
  return keyPem;
}
