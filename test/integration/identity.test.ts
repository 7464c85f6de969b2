import { chmodSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createPrivateKey, randomBytes, sign, webcrypto, X509Certificate, type KeyObject } from 'node:crypto';
import { pino } from 'pino';
import t from 'tap';
import { X509Authority } from '../../controller/adapters/identity/x509-authority.js';
import { openMemoryDatabase } from '../../controller/adapters/sqlite/open-database.js';
import { CONTROLLER } from '../../controller/domain/caller.js';
import { CertificateService } from '../../controller/services/certificate-service.js';
import { EventLog } from '../../controller/services/event-log.js';
import { JoinService, type JoinRequest } from '../../controller/services/join-service.js';
import { Journal } from '../../controller/services/journal.js';
import { TokenService } from '../../controller/services/token-service.js';
import { parseJoinToken } from '../../shared/domain/join-token.js';
import { parseHostName } from '../../shared/domain/name.js';
import { AppError } from '../../shared/errors.js';
import { SERVER_NAME } from '../../shared/grpc/server-name.js';
import { PROTOCOL } from '../../shared/version.js';
import { x509 } from '../../shared/x509.js';
import { ManualClock } from '../fakes/manual-clock.js';

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const P256 = { name: 'ECDSA', namedCurve: 'P-256' };
const SIGNING = { name: 'ECDSA', hash: 'SHA-256' };
const HOST = parseHostName('dom0-1');

interface Applicant {
  readonly csr: string;
  readonly key: KeyObject;
}

async function apply(name: string, algorithm: typeof P256 = P256, names: string[] = []): Promise<Applicant> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  const request = await x509.Pkcs10CertificateRequestGenerator.create(
    {
      name: [{ CN: [name] }],
      keys,
      signingAlgorithm: SIGNING,
      extensions:
        names.length === 0
          ? []
          : [new x509.SubjectAlternativeNameExtension(names.map((value) => ({ type: 'dns', value })))],
    },
    webcrypto,
  );
  const pkcs8 = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  return { csr: `${request.toString('pem')}\n`, key: createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' }) };
}

/** The error's code, or "done". */
async function outcome(work: Promise<unknown>): Promise<string> {
  try {
    await work;
    return 'done';
  } catch (error) {
    if (error instanceof AppError) return error.code;
    throw error;
  }
}

async function messageOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (error: unknown) => (error as Error).message,
  );
}

/** A controller's identity part on a database in memory. */
async function setUp(dataDir: string, joinAddresses: string[] = ['10.0.0.1:7434']) {
  const clock = new ManualClock();
  const log = pino({ level: 'silent' });
  const database = openMemoryDatabase(log);
  const journal = new Journal(database, log);
  const events = new EventLog({ journal });
  const authority = await X509Authority.open(dataDir, clock);
  const cut: string[] = [];
  const cutHosts: number[] = [];
  const common = {
    journal,
    events,
    authority,
    clock,
    calls: { cut: (serials: readonly string[]) => void cut.push(...serials) },
    cutHost: (hostId: number) => void cutHosts.push(hostId),
  };
  const joins = new JoinService({ ...common, protocol: PROTOCOL, sessionAddresses: () => ['10.0.0.1:7433'] });
  const tokens = new TokenService({
    ...common,
    random: { bytes: (count) => randomBytes(count) },
    caPin: authority.pin,
    joinAddresses: () => joinAddresses,
  });
  const certificates = new CertificateService(common);
  const secretFor = async (pattern: string, uses = 1, ttlMs = 10 * MINUTE_MS): Promise<string> =>
    parseJoinToken((await tokens.create(pattern, uses, ttlMs, undefined, CONTROLLER)).text).secret;
  const request = (csr: string, secret: string, change: Partial<JoinRequest> = {}): JoinRequest => ({
    host: HOST,
    csr,
    proof: { kind: 'token', secret },
    deploymentId: 'deployment-1',
    nowMs: clock.nowMs(),
    protocol: PROTOCOL,
    ...change,
  });
  return {
    clock,
    database,
    journal,
    events,
    authority,
    cut,
    cutHosts,
    joins,
    tokens,
    certificates,
    secretFor,
    request,
  };
}

t.test('the authority', async (t) => {
  const dataDir = t.testdir();
  const clock = new ManualClock();
  const authority = await X509Authority.open(dataDir, clock);

  t.test('is made once, and its key is ours alone', async (t) => {
    t.strictSame(readdirSync(dataDir).sort(), ['ca.crt', 'ca.key'], 'no draft is left');
    t.equal(statSync(join(dataDir, 'ca.key')).mode & 0o777, 0o600);
    t.equal((await X509Authority.open(dataDir, clock)).pin, authority.pin);
    const ca = new X509Certificate(readFileSync(join(dataDir, 'ca.crt')));
    t.equal(ca.fingerprint256.replaceAll(':', '').toLowerCase(), authority.pin, 'the pin is the digest of the DER');
    t.ok(ca.ca);
  });

  t.test('signs what it is asked for, and nothing else', async (t) => {
    const { csr } = await apply('dom0-1', P256, ['DOM0-1']);
    const request = await authority.readRequest(csr, 'dom0-1');
    const issued = await authority.issue(request, { role: 'agent', name: 'dom0-1' }, DAY_MS);
    const certificate = new X509Certificate(issued.pem);
    t.ok(certificate.verify(new X509Certificate(authority.certificatePem).publicKey));
    t.notOk(certificate.ca);
    t.equal(certificate.subjectAltName, 'URI:domherd://agent/dom0-1');
    t.equal(certificate.serialNumber.toLowerCase(), issued.serial);
    t.equal(Date.parse(certificate.validTo), clock.nowMs() + DAY_MS);
    t.equal(issued.expiresAtMs, clock.nowMs() + DAY_MS);
    t.strictSame(certificate.keyUsage, ['1.3.6.1.5.5.7.3.2'], 'client authentication');
    t.match(authority.readCertificate(issued.pem), {
      serial: issued.serial,
      subject: { role: 'agent', name: 'dom0-1' },
    });
  });

  t.test('has a certificate for its own listeners', async (t) => {
    const { chainPem, keyPem, expiresAtMs } = await authority.issueServer(90 * DAY_MS);
    const server = new X509Certificate(chainPem);
    t.equal(server.checkHost(SERVER_NAME), SERVER_NAME);
    t.ok(server.checkPrivateKey(createPrivateKey(keyPem)));
    t.ok(chainPem.endsWith(authority.certificatePem), 'the CA goes along, for those who know its pin only');
    t.equal(expiresAtMs, clock.nowMs() + 90 * DAY_MS);
  });

  const { csr } = await apply('dom0-1');
  const tampered = (): string => {
    const der = Buffer.from(csr.replace(/-----.*-----/g, ''), 'base64');
    const at = der.length - 5;
    der[at] = (der[at] ?? 0) ^ 1;
    return `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
  };
  const refused: Record<string, { csr: string; name?: string }> = {
    'is empty': { csr: '' },
    'is not PEM': { csr: 'hello' },
    'is a certificate': { csr: authority.certificatePem },
    'is huge': { csr: csr + 'A'.repeat(10_000) },
    'was tampered with': { csr: tampered() },
    'names another host': { csr, name: 'dom0-2' },
    'has another curve': { csr: (await apply('dom0-1', { name: 'ECDSA', namedCurve: 'P-384' })).csr },
    'asks for another name as well': { csr: (await apply('dom0-1', P256, ['dom0-1', SERVER_NAME])).csr },
  };
  for (const [what, { csr: text, name = 'dom0-1' }] of Object.entries(refused)) {
    t.test(`a request that ${what} is invalid`, async (t) => {
      t.equal(await outcome(authority.readRequest(text, name)), 'invalid');
    });
  }

  t.test('knows its own certificates only', async (t) => {
    const other = await X509Authority.open(t.testdir(), clock);
    const request = await other.readRequest(csr, 'dom0-1');
    const foreign = await other.issue(request, { role: 'agent', name: 'dom0-1' }, DAY_MS);
    t.throws(() => authority.readCertificate(foreign.pem), { code: 'unauthenticated' });
    t.throws(() => authority.readCertificate(authority.certificatePem), { code: 'unauthenticated' });
    t.throws(() => authority.readCertificate('hello'), { code: 'invalid' });
  });

  t.test('files that do not fit are refused, and left as they are', async (t) => {
    const open = (): Promise<string> => outcome(X509Authority.open(dataDir, clock));
    const key = readFileSync(join(dataDir, 'ca.key'), 'utf8');
    chmodSync(join(dataDir, 'ca.key'), 0o644);
    t.equal(await open(), 'wrong_state', 'others can read the key');
    chmodSync(join(dataDir, 'ca.key'), 0o600);
    await X509Authority.open(t.testdir({ other: {} }), clock);
    writeFileSync(join(dataDir, 'ca.key'), readFileSync(join(t.testdirName, 'ca.key')));
    t.equal(await open(), 'wrong_state', 'the key of another');
    writeFileSync(join(dataDir, 'ca.key'), 'rubbish');
    t.equal(await open(), 'wrong_state', 'no key');
    rmSync(join(dataDir, 'ca.key'));
    t.equal(await open(), 'wrong_state', 'no file');
    t.notOk(readdirSync(dataDir).includes('ca.key'), 'none was made in its place');
    writeFileSync(join(dataDir, 'ca.key'), key, { mode: 0o600 });
    t.equal((await X509Authority.open(dataDir, clock)).pin, authority.pin);
  });

  t.test('a first start that died between its two files begins anew', async (t) => {
    const folder = t.testdir({ 'ca.key': 'half a key' });
    t.ok((await X509Authority.open(folder, clock)).pin);
  });
});

t.test('joining by a token', (t) => {
  t.test('makes the host, and a certificate that is on record', async (t) => {
    const { joins, secretFor, request, journal, authority, clock } = await setUp(t.testdir());
    const joined = await joins.join(request((await apply('dom0-1')).csr, await secretFor('dom0-1')));
    t.strictSame(joined.addresses, ['10.0.0.1:7433']);
    t.equal(joined.caPem, authority.certificatePem);
    const { serial } = authority.readCertificate(joined.certificatePem);
    journal.read((stores) => {
      t.match(stores.hosts.findByName('dom0-1'), { deploymentId: 'deployment-1', joinedAtMs: clock.nowMs() });
      t.match(stores.identities.find(serial), { role: 'agent', name: 'dom0-1', expiresAtMs: joined.expiresAtMs });
      t.match(stores.events.list({ kinds: ['host.'] }, 0, 10), [{ kind: 'host.joined', host: 'dom0-1' }]);
    });
  });

  t.test('an answer that was lost is given again to the same host and key, to nobody else', async (t) => {
    const { joins, secretFor, request, clock, cut } = await setUp(t.testdir());
    const secret = await secretFor('dom0-*', 1);
    const { csr } = await apply('dom0-1');
    t.equal(await outcome(joins.join(request(csr, secret))), 'done');
    t.equal(await outcome(joins.join(request(csr, secret))), 'done', 'again');
    t.strictSame(cut, [], 'and the first certificate, if it came after all, is good');
    t.equal(await outcome(joins.join(request((await apply('dom0-1')).csr, secret))), 'unauthenticated', 'another key');
    const other = request((await apply('dom0-2')).csr, secret, { host: parseHostName('dom0-2') });
    t.equal(await outcome(joins.join(other)), 'unauthenticated', 'another host');
    clock.advance(11 * MINUTE_MS);
    t.equal(await outcome(joins.join(request(csr, secret))), 'done', 'also when the token is over');
    const redeployed = request(csr, secret, { deploymentId: 'deployment-2' });
    t.equal(await outcome(joins.join(redeployed)), 'unauthenticated', 'not for another deployment');
  });

  t.test('two at once use a token of one use once', async (t) => {
    const { joins, secretFor, request } = await setUp(t.testdir());
    const secret = await secretFor('dom0-1');
    const requests = await Promise.all([1, 2, 3].map(async () => request((await apply('dom0-1')).csr, secret)));
    const outcomes = await Promise.all(requests.map((one) => outcome(joins.join(one))));
    t.strictSame(outcomes.sort(), ['done', 'unauthenticated', 'unauthenticated']);
  });

  t.test('each refusal has its own words', async (t) => {
    const { joins, secretFor, request, clock } = await setUp(t.testdir());
    const { csr } = await apply('dom0-1');
    const late = await secretFor('dom0-1', 1, 10_000);
    clock.advance(10_000);
    const used = await secretFor('dom0-*', 1);
    await joins.join(request((await apply('dom0-1')).csr, used));
    const cases: [string, JoinRequest, string][] = [
      ['unknown', request(csr, 'ab'.repeat(32)), 'unauthenticated'],
      ['expired', request(csr, late), 'unauthenticated'],
      ['used up', request(csr, used), 'unauthenticated'],
      ['for dom0-9', request(csr, await secretFor('dom0-9')), 'unauthenticated'],
      ['not for dom0-1', request((await apply('dom0-2')).csr, await secretFor('*')), 'invalid'],
      ['ahead', request(csr, await secretFor('*'), { nowMs: clock.nowMs() + 6 * MINUTE_MS }), 'wrong_state'],
      ['protocol', request(csr, await secretFor('*'), { protocol: { major: 9, minor: 0 } }), 'wrong_state'],
    ];
    for (const [words, one, code] of cases) {
      t.equal(await outcome(joins.join(one)), code, words);
      t.match(await messageOf(joins.join(one)), new RegExp(words));
    }
  });

  t.test('a clock that is off does not use the token up', async (t) => {
    const { joins, secretFor, request, clock } = await setUp(t.testdir());
    const secret = await secretFor('dom0-1');
    const { csr } = await apply('dom0-1');
    t.equal(await outcome(joins.join(request(csr, secret, { nowMs: clock.nowMs() - DAY_MS }))), 'wrong_state');
    t.equal(await outcome(joins.join(request(csr, secret))), 'done');
  });

  t.test('a second life of the image ends the first', async (t) => {
    const { joins, secretFor, request, journal, authority, cut, cutHosts } = await setUp(t.testdir());
    const first = await joins.join(request((await apply('dom0-1')).csr, await secretFor('dom0-1')));
    journal.read(({ hosts }) => t.equal(hosts.findByName('dom0-1')?.sessionCounter, 0));
    await journal.submit(({ hosts }) => {
      const host = hosts.findByName('dom0-1');
      if (host) hosts.update({ ...host, sessionCounter: 7 });
    });
    const again = request((await apply('dom0-1')).csr, await secretFor('dom0-1'), { deploymentId: 'deployment-2' });
    await joins.join(again);
    const { serial } = authority.readCertificate(first.certificatePem);
    t.strictSame(cut, [serial]);
    t.equal(cutHosts.length, 1);
    journal.read(({ hosts, identities }) => {
      t.match(hosts.findByName('dom0-1'), { deploymentId: 'deployment-2', sessionCounter: 0 });
      t.ok(identities.find(serial)?.revokedAtMs);
    });
  });

  t.test('no token without a join listener; no secret in the database or the history', async (t) => {
    const off = await setUp(t.testdir(), []);
    t.equal(await outcome(off.secretFor('dom0-1')), 'wrong_state');
    const { secretFor, journal } = await setUp(t.testdir());
    const secret = await secretFor('dom0-1');
    journal.read(({ tokens, events }) => {
      t.equal(tokens.findByHash(secret), undefined);
      t.notMatch(JSON.stringify(events.list({}, 0, 10)), new RegExp(secret));
    });
  });
  t.end();
});

t.test('renewing', async (t) => {
  const { joins, certificates, secretFor, request, clock, authority, journal, cut, cutHosts } = await setUp(
    t.testdir(),
  );
  const applicant = await apply('dom0-1');
  const joined = await joins.join(request(applicant.csr, await secretFor('dom0-1')));
  const expired = (csr: string, key: KeyObject, change: Partial<JoinRequest> = {}): JoinRequest => ({
    ...request(csr, ''),
    proof: {
      kind: 'expired',
      certificatePem: joined.certificatePem,
      signature: sign('sha256', Buffer.from(csr), key),
    },
    ...change,
  });

  t.test('over the session, with a new key', async (t) => {
    const issued = await certificates.renew('dom0-1', (await apply('dom0-1')).csr);
    t.equal(issued.expiresAtMs, clock.nowMs() + DAY_MS);
    t.match(authority.readCertificate(issued.pem).subject, { role: 'agent', name: 'dom0-1' });
    t.equal(await outcome(certificates.renew('dom0-1', (await apply('dom0-2')).csr)), 'invalid', 'for oneself only');
    t.equal(await outcome(certificates.renew('dom0-7', (await apply('dom0-7')).csr)), 'unauthenticated', 'unknown');
  });

  t.test('by an expired certificate, for 14 days', async (t) => {
    clock.advance(14 * DAY_MS);
    const next = await apply('dom0-1');
    t.equal(await outcome(joins.join(expired(next.csr, applicant.key))), 'done');
    t.equal(await outcome(joins.join(expired(next.csr, next.key))), 'unauthenticated', 'the new key proves nothing');
    const moved = expired(next.csr, applicant.key, { deploymentId: 'deployment-2' });
    t.equal(await outcome(joins.join(moved)), 'unauthenticated', 'another deployment');
    clock.advance(2 * DAY_MS);
    t.equal(await outcome(joins.join(expired(next.csr, applicant.key))), 'unauthenticated', 'too old');
  });

  t.test('not after the host was revoked; then a new token helps', async (t) => {
    const joinedAgain = await joins.join(request((await apply('dom0-1')).csr, await secretFor('dom0-1')));
    cut.length = 0;
    cutHosts.length = 0;
    await certificates.revokeHost('dom0-1', CONTROLLER);
    t.ok(cut.includes(authority.readCertificate(joinedAgain.certificatePem).serial));
    t.equal(cutHosts.length, 1);
    t.equal(await outcome(certificates.revokeHost('dom0-1', CONTROLLER)), 'done', 'again');
    t.equal(cutHosts.length, 1, 'which changes nothing');
    t.equal(await outcome(certificates.renew('dom0-1', (await apply('dom0-1')).csr)), 'unauthenticated');
    t.equal(await outcome(certificates.revokeHost('dom0-9', CONTROLLER)), 'not_found');

    t.equal(await outcome(joins.join(request((await apply('dom0-1')).csr, await secretFor('dom0-1')))), 'done');
    journal.read(({ hosts }) => t.equal(hosts.findByName('dom0-1')?.revokedAtMs, undefined));
  });
});

t.test('client certificates', async (t) => {
  const { certificates, authority, clock, cut, journal } = await setUp(t.testdir());
  const { csr } = await apply('notebook');
  const issued = await certificates.issueAdmin('notebook', csr, 90, CONTROLLER);
  t.equal(issued.expiresAtMs, clock.nowMs() + 90 * DAY_MS);
  t.strictSame(authority.readCertificate(issued.pem).subject, { role: 'admin', name: 'notebook' });
  t.equal(await outcome(certificates.issueAdmin('other', csr, 1, CONTROLLER)), 'invalid', 'the request is for another');
  t.equal(await outcome(certificates.issueAdmin('a/b', csr, 1, CONTROLLER)), 'invalid', 'no name');

  await certificates.revokeAdmin('notebook', CONTROLLER);
  t.strictSame(cut, [issued.serial]);
  t.equal(await outcome(certificates.revokeAdmin('notebook', CONTROLLER)), 'done', 'again');
  t.strictSame(cut, [issued.serial], 'which changes nothing');
  t.equal(await outcome(certificates.revokeAdmin('nobody', CONTROLLER)), 'not_found');
  journal.read(({ events }) => {
    t.strictSame(
      events.list({ kinds: ['certificate.'] }, 0, 10).map(({ kind }) => kind),
      ['certificate.issued', 'certificate.revoked'],
    );
  });
});
