import { type GuestTree, pathsIn, textOf } from './guest-tree.js';

/** What is dangerous in a guest whose image others have too. For people. */
export function secretWarnings(tree: GuestTree): readonly string[] {
  return [...emptyPasswords(tree), ...privateKeys(tree)];
}

function emptyPasswords(tree: GuestTree): readonly string[] {
  const accounts = (textOf(tree, '/etc/shadow') ?? '').split('\n').filter((line) => /^[^:#\s]+::/.test(line));
  return accounts.map(
    (line) => `${line.split(':')[0] ?? ''} has an empty password in the guest: passwd in it, or passwd -l`,
  );
}

function privateKeys(tree: GuestTree): readonly string[] {
  return pathsIn(tree, '/root/.ssh')
    .filter((path) => tree.get(path)?.kind === 'file' && isPrivateKey(path, textOf(tree, path)))
    .map((path) => `${path} is a private key inside the image: whoever has a copy of the image has it too`);
}

function isPrivateKey(path: string, text = ''): boolean {
  return /\/id_[^/.]+$/.test(path) || /^-----BEGIN [A-Z ]*PRIVATE KEY-----/m.test(text);
}
