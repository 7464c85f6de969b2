import { invalid } from '../errors.js';

/** What a host needs to join: one line of text that is a secret. */
export interface JoinToken {
  /** Lower-case hex, 256 bits. The controller keeps only its hash. */
  readonly secret: string;
  /** SHA-256 of the controller's CA certificate (DER), lower-case hex: who may be trusted on the first contact. */
  readonly caPin: string;
  /** "host:port" of the join listener, in the order to try. */
  readonly joinAddresses: readonly string[];
  /** The host name, or a pattern with `*`. */
  readonly hostPattern: string;
}

const PREFIX = 'dh1.';
const HEX_256 = /^[0-9a-f]{64}$/;
const ADDRESS = /^(\[[0-9a-fA-F:]+\]|[^\s:|,]+):\d{1,5}$/;

/** The inverse of {@link parseJoinToken}. Fields are joined by `|`, addresses by `,`: none of them can hold either. */
export function formatJoinToken(token: JoinToken): string {
  return (
    PREFIX + encodeBase64Url([token.secret, token.caPin, token.joinAddresses.join(','), token.hostPattern].join('|'))
  );
}

/** @throws {AppError} `invalid` for anything that is no whole token; the text itself never stands in the message */
export function parseJoinToken(text: string): JoinToken {
  const trimmed = text.trim();
  const plain = trimmed.startsWith(PREFIX) ? decodeBase64Url(trimmed.slice(PREFIX.length)) : undefined;
  const [secret, caPin, addresses, hostPattern, ...rest] = plain?.split('|') ?? [];
  const joinAddresses = addresses?.split(',') ?? [];
  const isWhole =
    HEX_256.test(secret ?? '') && HEX_256.test(caPin ?? '') && joinAddresses.every((address) => ADDRESS.test(address));
  if (!isWhole || !secret || !caPin || !hostPattern || rest.length > 0) throw notAToken(trimmed);
  return { secret, caPin, joinAddresses, hostPattern };
}

function notAToken(text: string): Error {
  const what = text === '' ? 'the join token is empty' : 'the text is not a whole join token';
  return invalid(what, { hint: 'make one with `domherd host token HOST` and pipe it in whole: it begins with "dh1."' });
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** ASCII only. Here, because Buffer is not for domain code and `btoa` knows no URL alphabet. */
function encodeBase64Url(text: string): string {
  let bits = 0;
  let value = 0;
  let out = '';
  for (let at = 0; at < text.length; at += 1) {
    value = (value << 8) | (text.charCodeAt(at) & 0xff);
    bits += 8;
    while (bits >= 6) {
      bits -= 6;
      out += ALPHABET.charAt((value >> bits) & 63);
    }
    value &= (1 << bits) - 1;
  }
  return bits > 0 ? out + ALPHABET.charAt((value << (6 - bits)) & 63) : out;
}

function decodeBase64Url(text: string): string | undefined {
  let bits = 0;
  let value = 0;
  let out = '';
  for (const character of text) {
    const digit = ALPHABET.indexOf(character);
    if (digit < 0) return undefined;
    value = (value << 6) | digit;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out += String.fromCharCode((value >> bits) & 0xff);
    }
    value &= (1 << bits) - 1;
  }
  return out;
}
