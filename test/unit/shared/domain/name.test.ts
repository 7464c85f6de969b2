import fc from 'fast-check';
import t, { type Test } from 'tap';
import { formatDuration, parseDuration } from '../../../../shared/domain/duration.js';
import { selectHosts } from '../../../../shared/domain/host-selector.js';
import {
  expandPattern,
  isPattern,
  matchesGlob,
  PatternExpander,
  splitNames,
} from '../../../../shared/domain/name-pattern.js';
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

t.test('brackets are written out', (t) => {
  for (const [pattern, want] of [
    ['web-[1-3]', 'web-1 web-2 web-3'],
    ['web-[01-03]', 'web-01 web-02 web-03'],
    ['web-[08-11]', 'web-08 web-09 web-10 web-11'],
    ['web-[1-3,7]', 'web-1 web-2 web-3 web-7'],
    ['web-[7,1-2,2]', 'web-7 web-1 web-2'],
    ['[0-1]x[2-3]@h', '0x2@h 0x3@h 1x2@h 1x3@h'],
    ['web-[5]', 'web-5'],
    ['web-[1-2]*', 'web-1* web-2*'],
    ['web', 'web'],
  ] as const) {
    t.equal(expandPattern(pattern).join(' '), want, pattern);
    t.equal(isPattern(pattern), pattern !== 'web', pattern);
  }
  for (const [pattern, message] of [
    ['web-[1-1000000000]', /more than 9 digits/],
    ['web-[1-999999999]', /stands for 999999999 names, more than 10000/],
    ['[1-9999][1-9999][1-9999]', /names, more than 10000/],
    ['web-[1-20', /without its other half/],
    ['web-1]', /without its other half/],
    ['web-[[1-2]]', /without its other half/],
    ['web-[]', /nothing between/],
    ['web-[1,]', /nothing between/],
    ['web-[a-c]', /"a-c" in its brackets/],
    ['web-[1-2-3]', /"1-2-3"/],
    ['web-[3-1]', /runs backwards/],
    ['web-[1-020]', /two widths/],
    ['x'.repeat(600), /longer/],
  ] as const) {
    t.throws(() => expandPattern(pattern), { code: 'invalid', message, details: { hint: /./ } }, pattern.slice(0, 30));
  }
  const many = new PatternExpander();
  many.expand('a-[1-9000]');
  t.throws(() => many.expand('b-[1-9000]'), { code: 'invalid', message: /more than 10000 names/ }, 'all together');
  t.throws(() => new PatternExpander().expand('b-[1-900]*'), { code: 'invalid', message: /more than 256/ });
  t.strictSame(splitNames('a, b,,dom0-[1-3,7],c'), ['a', 'b', 'dom0-[1-3,7]', 'c'], 'commas in brackets are theirs');
  t.end();
});

t.test('properties of patterns', (t) => {
  const number = fc.nat(9_999);
  const range = fc.tuple(number, fc.nat(200)).map(([from, more]) => ({ from, to: from + more }));
  fc.assert(
    fc.property(fc.constantFrom('', 'web-', 'a.b'), fc.array(range, { minLength: 1, maxLength: 5 }), (head, ranges) => {
      const text = ranges.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`)).join(',');
      const want = ranges.flatMap(({ from, to }) =>
        Array.from({ length: to - from + 1 }, (_, n) => `${head}${from + n}`),
      );
      return expandPattern(`${head}[${text}]`).join() === [...new Set(want)].join();
    }),
  );
  // A glob says what the regular expression says that it is.
  const letters = fc.string({ unit: fc.constantFrom('a', 'b', '.', '*'), maxLength: 8 });
  fc.assert(
    fc.property(letters, letters, (glob, name) => {
      const source = glob.replaceAll('.', '\\.').replaceAll('*', '.*');
      return matchesGlob(glob, name) === new RegExp(`^${source}$`).test(name);
    }),
    { numRuns: 2_000 },
  );
  t.notOk(matchesGlob(`${'a*'.repeat(200)}b`, 'a'.repeat(500)), 'stars upon stars are answered, and at once');
  fc.assert(
    fc.property(fc.string(), (text) => {
      try {
        return expandPattern(text).length >= 1;
      } catch (error) {
        return error instanceof AppError && error.code === 'invalid';
      }
    }),
  );
  t.end();
});

t.test('hosts by pattern', (t) => {
  const known = ['dom0-1.lille.grid5000.fr', 'dom0-2.lille.grid5000.fr', 'dom0-3.lyon.grid5000.fr', 'x'];
  const short = (texts: readonly string[]) => selectHosts(texts, known).map((name) => name.split('.')[0]);
  t.strictSame(short(['dom0-[1-2]']), ['dom0-1', 'dom0-2'], 'by their first labels');
  t.strictSame(short(['*.lyon.grid5000.fr', 'DOM0-*']), ['dom0-3', 'dom0-1', 'dom0-2'], 'each once, in order');
  t.strictSame(selectHosts(['y', 'x'], known), ['y', 'x'], 'what is no pattern is left as it is');
  t.throws(() => short(['dom0-[2-5]']), { code: 'not_found', message: /no host dom0-4, dom0-5$/ });
  t.throws(() => short(['y*']), { code: 'not_found', message: /"y\*" matches no host/ });
  t.throws(() => short(['[']), { code: 'invalid' });
  t.end();
});
