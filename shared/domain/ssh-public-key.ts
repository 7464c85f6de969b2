import { invalid, type AppError } from '../errors.js';
import { printable } from './printable.js';

/** An ssh public key, as OpenSSH writes it on one line. */
export interface SshPublicKey {
  /** Such as `ssh-ed25519`. */
  readonly type: string;
  /** Base64, which names the type once more. */
  readonly blob: string;
  /** May be empty. */
  readonly comment: string;
}

/** What sshd lets in, and knows itself by; of certificates and DSA there are none. */
const TYPE = /^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)$/;
/** RSA of 16,384 bits has less than 3,000. */
const MAX_BLOB = 8_192;
const MAX_COMMENT = 256;

/**
 * @param text one line: type, base64, comment
 * @throws {AppError} `invalid` for all else: options of authorized_keys(5), certificates, private keys
 */
export function parseSshPublicKey(text: string): SshPublicKey {
  if (/-----BEGIN|PRIVATE KEY/.test(text)) throw privateKey();
  const [, type = '', blob = '', comment = ''] = /^\s*(\S+)[ \t]+(\S+)(?:[ \t]+(.*?))?\s*$/.exec(text) ?? [];
  if (!TYPE.test(type)) throw refused(text, whatIs(type));
  if (blob.length > MAX_BLOB || typeIn(blob) !== type) throw refused(text, 'its base64 part is damaged');
  if (/\p{C}/u.test(comment)) throw refused(text, 'its comment has control characters');
  return { type, blob, comment: comment.slice(0, MAX_COMMENT) };
}

export function formatSshPublicKey({ type, blob, comment }: SshPublicKey): string {
  return comment === '' ? `${type} ${blob}` : `${type} ${blob} ${comment}`;
}

function privateKey(): AppError {
  return invalid('this is a private key, which must not leave your account', {
    hint: 'give the public one beside it, whose name ends in .pub',
  });
}

function refused(text: string, why: string): AppError {
  const start = printable(text.trim().slice(0, 40));
  return invalid(`"${start}" is no ssh public key: ${why}`, {
    hint: 'one line such as "ssh-ed25519 AAAA... me@frontend", from a file whose name ends in .pub',
  });
}

function whatIs(type: string): string {
  if (type.includes('-cert-')) return 'it is a certificate';
  if (type === 'ssh-dss') return 'no sshd takes DSA any more';
  return 'it does not begin with a type of key';
}

/** The blob begins with the length of a text and the text; `undefined` if it is no base64 of such. */
function typeIn(blob: string): string | undefined {
  if (blob.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(blob)) return undefined;
  const bytes = atob(blob);
  const length = [...bytes.slice(0, 4)].reduce((sum, byte) => sum * 256 + byte.charCodeAt(0), 0);
  const type = bytes.slice(4, 4 + length);
  return bytes.length > 4 + length ? type : undefined;
}
