import fc from 'fast-check';
import t, { type Test } from 'tap';
import { formatDuration, parseDuration } from '../../../../shared/domain/duration.js';
import { parseHostName, parseOwnerName, parseReservationName, parseVmName } from '../../../../shared/domain/name.js';
import { formatSshPublicKey, parseSshPublicKey } from '../../../../shared/domain/ssh-public-key.js';
import { AppError } from '../../../../shared/errors.js';

type Parse = (text: string) => string;

function accepts(t: Test, parse: Parse, texts: readonly string[]): void {
  for (const text of texts) t.equal(parse(text), text, `accepts ${text}`);
}

function refuses(t: Test, parse: Parse, cases: readonly (readonly [string, number | undefined])[]): void {
  for (const [text, position] of cases) {
    const details = position === undefined ? {} : { position: `${position}` };
    t.throws(() => parse(text), { code: 'invalid', details }, `refuses ${JSON.stringify(text.slice(0, 20))}`);
  }
}

void t.test('VM names', (t) => {
  accepts(t, parseVmName, ['domU', 'web-1', 'a', '_x', '1a', 'node.7', 'x'.repeat(128), 'vm:a+b~c=d', 'domain-0']);
  refuses(t, parseVmName, [
    ['', undefined],
    ['7', undefined],
    ['0042', undefined],
    ['Domain-0', undefined],
    ['x'.repeat(129), undefined],
    ['-rf', 1],
    ['.hidden', 1],
    ['a/b', 2],
    ['web@host', 4],
    ['a,b', 2],
    ['a b', 2],
    ['ab\tc', 3],
    ['ab\n', 3],
    ['a\u0000', 2],
    ['a"b', 2],
    ["a'b", 2],
    ['a\\b', 2],
    ['web*', 4],
    ['$x', 1],
    ['é', 1],
    ['a😀', 2],
    ['(null)', 1],
  ]);
  t.end();
});

void t.test('host names', (t) => {
  accepts(t, parseHostName, ['a', 'genepi-12.grenoble.grid5000.fr', '3com.net', 'x'.repeat(63), '10.0.0.7']);
  t.equal(parseHostName('Genepi-12.Grenoble'), 'genepi-12.grenoble');
  refuses(t, parseHostName, [
    ['', undefined],
    ['a_b', 2],
    ['a.b c', 4],
    ['a.b/c', 4],
    ['root@node', 5],
    ['a..b', undefined],
    ['a.b.', undefined],
    ['.a', undefined],
    ['-a', undefined],
    ['a.b-', undefined],
    [`a.${'x'.repeat(64)}`, undefined],
    [`${'x'.repeat(63)}.`.repeat(4) + 'abc', undefined],
    ['10.0.0.256', undefined],
    ['10.0.0', undefined],
    ['010.0.0.1', undefined],
    ['node.7', undefined],
  ]);
  t.end();
});

void t.test('names of reservations and owners', (t) => {
  accepts(t, parseReservationName, ['job-1234', 'grenoble:12', '1234', 'x'.repeat(63)]);
  refuses(t, parseReservationName, [
    ['', undefined],
    ['x'.repeat(64), undefined],
    ['-a', 1],
    ['a b', 2],
    ['a@b', 2],
    ['a,b', 2],
  ]);
  accepts(t, parseOwnerName, ['jdoe', 'j.doe@example.org', '_apt', 'x'.repeat(64)]);
  refuses(t, parseOwnerName, [
    ['', undefined],
    ['x'.repeat(65), undefined],
    ['@a', 1],
    ['a:b', 2],
    ['a b', 2],
  ]);
  t.end();
});

void t.test('a message never carries what moves a cursor', (t) => {
  fc.assert(
    fc.property(
      fc.string({ unit: 'binary' }),
      fc.constantFrom<Parse>(parseVmName, parseHostName, parseOwnerName),
      (text, parse) => {
        try {
          return parse(text).length > 0;
        } catch (error) {
          return error instanceof AppError && error.code === 'invalid' && !/[\p{Cc}\u202e]/u.test(error.message);
        }
      },
    ),
  );
  t.throws(() => parseVmName('a\u001b[2J'), { message: /\\u\{1b\}/ });
  t.end();
});

void t.test('durations', (t) => {
  for (const [text, ms] of [
    ['0s', 0],
    ['90s', 90_000],
    ['10m', 600_000],
    ['2h30m', 9_000_000],
    ['1d', 86_400_000],
    ['1d2h3m4s5ms', 93_784_005],
    ['250ms', 250],
  ] as const) {
    t.equal(parseDuration(text), ms, text);
  }
  t.equal(formatDuration(90_000), '1m30s');
  t.equal(formatDuration(0), '0s');
  for (const text of [
    '',
    '10',
    's',
    '1.5h',
    '-1s',
    '1s1m',
    '1m1m',
    '1 m',
    '1H',
    '1w',
    '99999999999999d',
    '9'.repeat(400) + 's',
  ]) {
    t.throws(() => parseDuration(text), { code: 'invalid' }, `refuses "${text.slice(0, 20)}"`);
  }
  for (const ms of [-1, 0.5, NaN, 2 ** 53]) t.throws(() => formatDuration(ms), { code: 'invalid' });
  fc.assert(fc.property(fc.maxSafeNat(), (ms) => parseDuration(formatDuration(ms)) === ms));
  t.end();
});

void t.test('ssh public keys', (t) => {
  const ed25519 = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKYnmmOsCJEGsI325IjJzdvLDKHTcjouAb7EMdr0SFda';
  const ecdsa =
    'ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBKmzd3ow98Ku6Vy6URrLkec45yB1K+YAEhtVEt2n0Y8ddV11KGc6cQAC5p3SffCDHTtUtwa4iLkFZ7BC+mxYJlQ=';
  for (const [text, want] of [
    [`${ed25519} me@frontend`, `${ed25519} me@frontend`],
    [`  ${ed25519}\t two  words \r\n`, `${ed25519} two  words`],
    [ecdsa, ecdsa],
    [`${ecdsa} `, ecdsa],
  ] as const) {
    t.equal(formatSshPublicKey(parseSshPublicKey(text)), want);
  }
  for (const [text, message] of [
    ['', /no ssh public key/],
    ['ssh-ed25519', /no ssh public key/],
    ['hello world', /does not begin with a type/],
    [`command="ls" ${ed25519}`, /does not begin with a type/],
    [ed25519.replace('ssh-ed25519', 'ssh-rsa'), /base64 part is damaged/],
    ['ssh-rsa AAAA', /base64 part is damaged/],
    ['ssh-rsa AAAAB3NzaC1yc2E=', /base64 part is damaged/],
    [ed25519.slice(0, -1), /base64 part is damaged/],
    [`ssh-rsa ${'A'.repeat(8196)}`, /base64 part is damaged/],
    [`${ed25519} a\u0007b`, /control characters/],
    ['ssh-dss AAAAB3NzaC1kc3M=', /DSA/],
    ['ssh-ed25519-cert-v01@openssh.com AAAA', /certificate/],
    ['-----BEGIN OPENSSH PRIVATE KEY-----', /private key/],
  ] as const) {
    t.throws(
      () => parseSshPublicKey(text),
      { code: 'invalid', message, details: { hint: /\.pub/ } },
      text.slice(0, 30),
    );
  }
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        parseSshPublicKey(text);
      } catch (error) {
        return error instanceof AppError;
      }
      return true;
    }),
  );
  t.end();
});
