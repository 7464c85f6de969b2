import { printable } from '../../shared/domain/printable.js';
import { AppError, invalid, wrongState } from '../../shared/errors.js';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

export const AGENT_CERTIFICATE_MS = DAY_MS;
/** So long after its end a certificate still renews itself: a host that was cut off over the holidays. */
export const RENEWAL_WINDOW_MS = 14 * DAY_MS;
export const MAX_CLOCK_OFFSET_MS = 5 * MINUTE_MS;
export const MAX_ADMIN_DAYS = 90;

export const IDENTITY_ROLES = ['agent', 'admin'] as const;
export type IdentityRole = (typeof IDENTITY_ROLES)[number];

/** Who a certificate is for. */
export interface Subject {
  readonly role: IdentityRole;
  /** Host name or client name. */
  readonly name: string;
}

/** The certificate's SAN. The inverse of {@link parseIdentityUri}. */
export function formatIdentityUri(subject: Subject): string {
  return `domherd://${subject.role}/${subject.name}`;
}

/** `undefined` if it is no identity of ours. */
export function parseIdentityUri(uri: string): Subject | undefined {
  const match = /^domherd:\/\/(agent|admin)\/([A-Za-z0-9._-]+)$/.exec(uri);
  const role = IDENTITY_ROLES.find((known) => known === match?.[1]);
  const name = match?.[2];
  return role === undefined || name === undefined ? undefined : { role, name };
}

/** @throws {AppError} `invalid` unless it is 1 to 63 letters, digits and . _ - */
export function parseClientName(text: string): string {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(text)) return text;
  throw invalid(`"${printable(text)}" is not a name for a client`, {
    field: 'name',
    hint: '1 to 63 letters, digits and . _ - (the first a letter or digit)',
  });
}

/**
 * Certificates have times in them: with a clock that is off they are refused in ways that nobody understands.
 *
 * @throws {AppError} `wrong_state`
 */
export function checkClock(host: string, theirMs: number, ourMs: number): void {
  const offsetMs = theirMs - ourMs;
  if (Math.abs(offsetMs) <= MAX_CLOCK_OFFSET_MS) return;
  const direction = offsetMs > 0 ? 'ahead' : 'behind';
  throw wrongState(`The clock of ${host} is ${roughly(Math.abs(offsetMs))} ${direction}`, {
    host,
    offsetMs: String(offsetMs),
    hint: `set it, for example with: chronyc makestep, or date -s @${String(Math.round(ourMs / 1000))}`,
  });
}

function roughly(durationMs: number): string {
  const [unit, ms] =
    durationMs >= 2 * DAY_MS
      ? (['days', DAY_MS] as const)
      : durationMs >= 2 * HOUR_MS
        ? (['hours', HOUR_MS] as const)
        : (['minutes', MINUTE_MS] as const);
  return `${String(Math.round(durationMs / ms))} ${unit}`;
}

/** What is known of a certificate that asks to be followed by another. */
export interface ExpiredFacts {
  readonly host: string;
  readonly subject: Subject;
  readonly expiresAtMs: number;
  /** Whether the key of the certificate signed the request. */
  readonly isSigned: boolean;
  /** What the controller recorded when it issued it; `undefined`: nothing. */
  readonly recorded: { readonly revokedAtMs: number | undefined } | undefined;
  readonly deploymentId: string;
  readonly known: { readonly deploymentId: string; readonly revokedAtMs: number | undefined } | undefined;
}

/** @throws {AppError} `unauthenticated`, each reason with its own words */
export function checkExpiredProof(facts: ExpiredFacts, nowMs: number): void {
  const { host, subject, known, recorded } = facts;
  const reason =
    subject.role !== 'agent' || subject.name !== host
      ? `The certificate is not one of host ${host}`
      : !facts.isSigned
        ? `The request is not signed by the key of the certificate of ${host}`
        : known === undefined || recorded === undefined
          ? `The certificate of ${host} is unknown to this controller`
          : known.revokedAtMs !== undefined || recorded.revokedAtMs !== undefined
            ? `The certificate of ${host} was revoked`
            : nowMs - facts.expiresAtMs > RENEWAL_WINDOW_MS
              ? `The certificate of ${host} expired more than 14 days ago`
              : known.deploymentId !== facts.deploymentId
                ? `Host ${host} was deployed anew since it joined`
                : undefined;
  if (reason !== undefined) throw mustJoinAnew(reason, host);
}

export function mustJoinAnew(message: string, host: string): AppError {
  return new AppError('unauthenticated', message, { host, hint: `let it join anew: domherd host token ${host}` });
}
