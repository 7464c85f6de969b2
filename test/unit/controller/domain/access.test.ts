import type { ServiceDefinition } from '@grpc/grpc-js';
import fc from 'fast-check';
import t from 'tap';
import {
  advertisedAddresses,
  formatListenAddress,
  isLoopback,
  isWildcard,
  parseListenAddress,
} from '../../../../controller/domain/listen-address.js';
import {
  checkClock,
  checkExpiredProof,
  formatIdentityUri,
  parseClientName,
  parseIdentityUri,
  RENEWAL_WINDOW_MS,
  type ExpiredFacts,
} from '../../../../controller/domain/identity-rule.js';
import { checkToken, matchesHostPattern, parseHostPattern } from '../../../../controller/domain/join-token.js';
import { judgeCall, METHOD_ROLES, ROLES } from '../../../../controller/domain/method-role.js';
import { fullBucket, takeToken, type Bucket } from '../../../../controller/domain/token-bucket.js';
import { AppError } from '../../../../shared/errors.js';
import { AgentServiceService, JoinServiceService } from '../../../../shared/gen/domherd/v1/agent.js';
import { ControllerServiceService } from '../../../../shared/gen/domherd/v1/controller.js';
import { DiskServiceService } from '../../../../shared/gen/domherd/v1/disk.js';
import { EventServiceService } from '../../../../shared/gen/domherd/v1/event.js';
import { HostServiceService } from '../../../../shared/gen/domherd/v1/host.js';
import { ImageServiceService } from '../../../../shared/gen/domherd/v1/image.js';
import { LeaseServiceService } from '../../../../shared/gen/domherd/v1/lease.js';
import { MacServiceService } from '../../../../shared/gen/domherd/v1/mac.js';
import { ReservationServiceService } from '../../../../shared/gen/domherd/v1/reservation.js';
import { VmServiceService } from '../../../../shared/gen/domherd/v1/vm.js';
import { HealthService } from '../../../../shared/gen/grpc/health/v1/health.js';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

const NOW = Date.UTC(2026, 0, 5);
const DAY_MS = 86_400_000;
const PROTO = join(import.meta.dirname, '..', '..', '..', '..', 'proto');

function failure(work: () => unknown): AppError | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (error instanceof AppError) return error;
    throw error;
  }
}

t.test('who may call what', (t) => {
  const definitions: readonly ServiceDefinition[] = [
    AgentServiceService,
    JoinServiceService,
    ControllerServiceService,
    DiskServiceService,
    EventServiceService,
    HostServiceService,
    ImageServiceService,
    LeaseServiceService,
    MacServiceService,
    ReservationServiceService,
    VmServiceService,
    HealthService,
  ];
  const paths = definitions.flatMap((definition) => Object.values(definition).map(({ path }) => path));

  t.test('the table has every method of every service, and no other', (t) => {
    t.strictSame([...paths].sort(), Object.keys(METHOD_ROLES).sort());
    t.end();
  });

  t.test('no service of the proto files was forgotten here', (t) => {
    const services = readdirSync(PROTO, { recursive: true, encoding: 'utf8' })
      .filter((file) => file.endsWith('.proto'))
      .flatMap((file) =>
        [...readFileSync(join(PROTO, file), 'utf8').matchAll(/^service (\w+)/gm)].map(([, name]) => name),
      );
    t.equal(services.length, definitions.length);
    t.end();
  });

  t.test('what is not in the table, nobody may call', (t) => {
    for (const method of ['/domherd.v1.LeaseService/Nope', 'constructor', '__proto__', '']) {
      for (const role of ROLES) t.not(judgeCall(method, role), 'allowed', `${role} ${method}`);
    }
    t.end();
  });

  t.test(
    'an agent may hold its session and the ends of transfers and consoles, read images, and nothing that changes the fleet',
    (t) => {
      const allowed = paths.filter((path) => judgeCall(path, 'agent') === 'allowed');
      t.strictSame(allowed.sort(), [
        '/domherd.v1.AgentService/Console',
        '/domherd.v1.AgentService/Receive',
        '/domherd.v1.AgentService/ReceiveImage',
        '/domherd.v1.AgentService/Renew',
        '/domherd.v1.AgentService/Send',
        '/domherd.v1.AgentService/Session',
        '/domherd.v1.JoinService/Join',
        '/grpc.health.v1.Health/Check',
        '/grpc.health.v1.Health/Watch',
      ]);
      t.end();
    },
  );

  t.test('a stranger is told to show who he is, a known one that he may not', (t) => {
    t.equal(judgeCall('/domherd.v1.LeaseService/Acquire', 'none'), 'unauthenticated');
    t.equal(judgeCall('/domherd.v1.LeaseService/Acquire', 'agent'), 'forbidden');
    t.equal(judgeCall('/domherd.v1.AgentService/Session', 'admin'), 'forbidden');
    t.end();
  });
  t.end();
});

t.test('host pattern', (t) => {
  const cases: [string, string, boolean][] = [
    ['dom0-1', 'dom0-1', true],
    ['dom0-1', 'dom0-10', false],
    ['dom0-*', 'dom0-1.site.example', true],
    ['dom0-*', 'xdom0-1', false],
    ['*', 'anything', true],
    ['*.site.example', 'a.site.example', true],
    ['*.site.example', '.site.example', true],
    ['*.site.example', 'site.example', false],
    ['a*a', 'a', false],
    ['a*a', 'aa', true],
    ['a*b*c', 'abbbc', true],
    ['a*b*c', 'ac', false],
    ['a*bc*c', 'abc', false],
    ['**', '', true],
  ];
  for (const [pattern, host, want] of cases) {
    t.test(`${pattern} ${want ? 'takes' : 'refuses'} "${host}"`, (t) => {
      t.equal(matchesHostPattern(pattern, host), want);
      t.end();
    });
  }

  t.test('it says what a regular expression says', (t) => {
    const text = fc.string({ unit: fc.constantFrom('a', 'b', '*'), maxLength: 8 });
    fc.assert(
      fc.property(
        text,
        fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 10 }),
        (pattern, host) =>
          matchesHostPattern(pattern, host) === new RegExp(`^${pattern.replaceAll('*', '.*')}$`).test(host),
      ),
      { numRuns: 500 },
    );
    t.end();
  });

  t.test('it is read in lower case, and a wrong one is refused', (t) => {
    t.equal(parseHostPattern('Dom0-*'), 'dom0-*');
    for (const text of ['', 'a b', '.a', 'a|b', 'a'.repeat(254), 'a.']) {
      t.equal(failure(() => parseHostPattern(text))?.code, 'invalid', text);
    }
    t.end();
  });
  t.end();
});

t.test('join token', (t) => {
  const token = { hostPattern: 'dom0-*', usesLeft: 1, expiresAtMs: NOW + 1 };
  t.test('one that is right lets in', (t) => {
    t.doesNotThrow(() => checkToken(token, 'dom0-1', false, NOW));
    t.end();
  });
  t.test('the very same host and key get in again, though it is used up and over', (t) => {
    t.doesNotThrow(() => checkToken({ ...token, usesLeft: 0 }, 'dom0-1', true, NOW + DAY_MS));
    t.end();
  });
  t.test('each refusal has its own words', (t) => {
    const refusals = [
      failure(() => checkToken(undefined, 'dom0-1', false, NOW)),
      failure(() => checkToken(token, 'other', false, NOW)),
      failure(() => checkToken(token, 'other', true, NOW)),
      failure(() => checkToken(token, 'dom0-1', false, NOW + 1)),
      failure(() => checkToken({ ...token, usesLeft: 0 }, 'dom0-1', false, NOW)),
    ];
    for (const refusal of refusals) t.equal(refusal?.code, 'unauthenticated');
    t.equal(new Set(refusals.map((refusal) => refusal?.message)).size, 4);
    t.end();
  });
  t.end();
});

t.test('expired certificate', (t) => {
  const facts: ExpiredFacts = {
    host: 'dom0-1',
    subject: { role: 'agent', name: 'dom0-1' },
    expiresAtMs: NOW - DAY_MS,
    isSigned: true,
    recorded: { revokedAtMs: undefined },
    deploymentId: 'd1',
    known: { deploymentId: 'd1', revokedAtMs: undefined },
  };
  t.test('renews itself', (t) => {
    t.doesNotThrow(() => checkExpiredProof(facts, NOW));
    t.end();
  });
  t.test('to the last millisecond of the 14 days', (t) => {
    t.doesNotThrow(() => checkExpiredProof(facts, facts.expiresAtMs + RENEWAL_WINDOW_MS));
    t.end();
  });
  const refusals: Record<string, Partial<ExpiredFacts>> = {
    'of another host': { subject: { role: 'agent', name: 'dom0-2' } },
    'of a client': { subject: { role: 'admin', name: 'dom0-1' } },
    'without its key': { isSigned: false },
    'that was never issued': { recorded: undefined },
    'of a host that never joined': { known: undefined },
    'that was revoked': { recorded: { revokedAtMs: 1 } },
    'of a revoked host': { known: { deploymentId: 'd1', revokedAtMs: 1 } },
    'of another deployment': { deploymentId: 'd2' },
    'that is too old': { expiresAtMs: NOW - RENEWAL_WINDOW_MS - 1 },
  };
  for (const [name, change] of Object.entries(refusals)) {
    t.test(`one ${name} does not`, (t) => {
      t.equal(failure(() => checkExpiredProof({ ...facts, ...change }, NOW))?.code, 'unauthenticated');
      t.end();
    });
  }
  t.end();
});

t.test('clock', (t) => {
  const cases: [number, RegExp | undefined][] = [
    [300_000, undefined],
    [-300_000, undefined],
    [300_001, /is 5 minutes ahead/],
    [-3 * 3_600_000, /is 3 hours behind/],
    [-40 * DAY_MS, /is 40 days behind/],
  ];
  for (const [offsetMs, words] of cases) {
    t.test(`${String(offsetMs)} ms`, (t) => {
      const error = failure(() => checkClock('dom0-1', NOW + offsetMs, NOW));
      t.equal(error?.code, words && 'wrong_state');
      if (words) t.match(error?.message, words);
      t.end();
    });
  }
  t.end();
});

t.test('identity in a certificate', (t) => {
  for (const subject of [
    { role: 'agent', name: 'dom0-1.site.example' },
    { role: 'admin', name: 'note_book' },
  ] as const) {
    t.strictSame(parseIdentityUri(formatIdentityUri(subject)), subject);
  }
  for (const uri of [
    '',
    'domherd://agent/',
    'domherd://root/x',
    'domherd://agent/a/b',
    'http://agent/a',
    'domherd://agent/a, URI:x',
  ]) {
    t.equal(parseIdentityUri(uri), undefined, uri);
  }
  t.equal(parseClientName('notebook'), 'notebook');
  for (const name of ['', '-a', 'a b', 'a/b', 'a'.repeat(64)]) {
    t.equal(failure(() => parseClientName(name))?.code, 'invalid', name);
  }
  t.end();
});

t.test('token bucket', (t) => {
  const rule = { perSecond: 10, burst: 5 };

  t.test('a burst, then the rate', (t) => {
    let bucket = fullBucket(rule, 0);
    const take = (nowMs: number): number => {
      const taken = takeToken(bucket, rule, nowMs);
      if (taken.kind === 'empty') return taken.waitMs;
      bucket = taken.bucket;
      return 0;
    };
    t.strictSame([0, 0, 0, 0, 0, 0].map(take), [0, 0, 0, 0, 0, 100]);
    t.equal(take(99), 1, 'a millisecond early');
    t.equal(take(100), 0);
    t.equal(take(100), 100);
    t.end();
  });

  t.test('in no span more than the burst and the rate allow', (t) => {
    fc.assert(
      fc.property(fc.array(fc.nat(200), { maxLength: 200 }), (gapsMs) => {
        let bucket: Bucket = fullBucket(rule, 0);
        let nowMs = 0;
        let taken = 0;
        for (const gapMs of gapsMs) {
          nowMs += gapMs;
          const outcome = takeToken(bucket, rule, nowMs);
          if (outcome.kind === 'empty') continue;
          bucket = outcome.bucket;
          taken += 1;
        }
        return taken <= rule.burst + (nowMs * rule.perSecond) / 1000 + 1e-6;
      }),
    );
    t.end();
  });
  t.end();
});

t.test('listen address', (t) => {
  for (const text of ['0.0.0.0:7433', '127.0.0.1:0', 'frontend.site:65535', '[::]:7433', '[2001:db8::1]:1']) {
    t.equal(formatListenAddress(parseListenAddress(text)), text);
  }
  for (const text of ['', '7433', '0.0.0.0', ':7433', 'a:b', '0.0.0.0:65536', '::1:7433', '256.0.0.1:1', 'a b:1']) {
    t.equal(failure(() => parseListenAddress(text))?.code, 'invalid', text);
  }
  t.ok(isWildcard('0.0.0.0') && isWildcard('::') && !isWildcard('10.0.0.0'));
  t.ok(isLoopback('127.9.9.9') && isLoopback('::1') && !isLoopback('128.0.0.1') && !isLoopback('host'));

  const everywhere = { host: '0.0.0.0', port: 7433 };
  t.strictSame(advertisedAddresses(everywhere, [], ['10.0.0.1', '10.1.0.1']), ['10.0.0.1:7433', '10.1.0.1:7433']);
  t.strictSame(advertisedAddresses(everywhere, ['fe.example'], ['10.0.0.1']), ['fe.example:7433']);
  t.strictSame(advertisedAddresses({ host: '10.2.0.1', port: 1 }, [], ['10.0.0.1']), ['10.2.0.1:1']);
  t.strictSame(advertisedAddresses({ host: '::', port: 1 }, ['2001:db8::1'], []), ['[2001:db8::1]:1']);
  t.end();
});
