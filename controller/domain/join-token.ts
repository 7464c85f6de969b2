import { printable } from '../../shared/domain/printable.js';
import { AppError, invalid } from '../../shared/errors.js';

const MAX_PATTERN = 253;
const TOKEN_HINT = 'make a new one: domherd host token NAME';

/**
 * A host name in which `*` stands for any characters, also none and also dots; lower-cased.
 *
 * @throws {AppError} `invalid`
 */
export function parseHostPattern(text: string): string {
  if (text.length >= 1 && text.length <= MAX_PATTERN && /^[A-Za-z0-9*]([A-Za-z0-9.*-]*[A-Za-z0-9*])?$/.test(text)) {
    return text.toLowerCase();
  }
  throw invalid(`"${printable(text)}" is neither a host name nor a pattern with *`, {
    field: 'host',
    hint: "write it as dom0-1, dom0-1.site.example or 'dom0-*'",
  });
}

/** @param host in lower case */
export function matchesHostPattern(pattern: string, host: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  const last = rest.pop();
  if (last === undefined) return host === first;
  if (host.length < first.length + last.length || !host.startsWith(first) || !host.endsWith(last)) return false;
  // Leftmost first is right for the middle parts, and has no worst case as a regular expression would have.
  const end = host.length - last.length;
  let at = first.length;
  for (const part of rest) {
    const found = host.indexOf(part, at);
    if (found < 0 || found + part.length > end) return false;
    at = found + part.length;
  }
  return true;
}

export interface TokenFacts {
  readonly hostPattern: string;
  readonly usesLeft: number;
  readonly expiresAtMs: number;
}

/**
 * Whether a host gets in by a token.
 *
 * @param token `undefined`: there is none with that secret
 * @param wasUsed by this very host with this very key: its reply was lost, and it asks again
 * @throws {AppError} `unauthenticated`, each reason with its own words
 */
export function checkToken(
  token: TokenFacts | undefined,
  host: string,
  wasUsed: boolean,
  nowMs: number,
): asserts token is TokenFacts {
  if (token === undefined) throw refused('The join token is unknown to this controller', host);
  if (!matchesHostPattern(token.hostPattern, host)) {
    throw refused(`The join token is for ${token.hostPattern}, not for ${host}`, host);
  }
  // Nobody else gains by that: the request is signed by the key that was certified already.
  if (wasUsed) return;
  if (nowMs >= token.expiresAtMs) throw refused('The join token has expired', host);
  if (token.usesLeft < 1) throw refused('The join token is used up', host);
}

function refused(message: string, host: string): AppError {
  return new AppError('unauthenticated', message, { host, hint: TOKEN_HINT });
}
