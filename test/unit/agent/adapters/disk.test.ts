import { execFileSync } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import t, { type Test } from 'tap';
import { parseIpv4 } from '../../../../shared/domain/ipv4.js';
import { parseMac } from '../../../../shared/domain/mac.js';
import type { AppError } from '../../../../shared/errors.js';
import { x509 } from '../../../../shared/x509.js';
import { writeFileAtomically } from '../../../../agent/adapters/disk/atomic-file.js';
import { DirCfgFolder } from '../../../../agent/adapters/disk/dir-cfg-folder.js';
import { DirIdentityStore } from '../../../../agent/adapters/disk/dir-identity-store.js';
import { FileAgentRecord } from '../../../../agent/adapters/disk/file-agent-record.js';
import { FileOrderJournal } from '../../../../agent/adapters/disk/file-order-journal.js';
import { SeenCfgs } from '../../../../agent/adapters/disk/seen-cfgs.js';
import { lockStateFolder } from '../../../../agent/adapters/disk/state-lock.js';
import { nodeKeyMaker } from '../../../../agent/adapters/system/node-key-maker.js';
import { SystemHostReport } from '../../../../agent/adapters/system/system-host-report.js';
import type { Identity } from '../../../../agent/domain/identity.js';
import type { CfgFile } from '../../../../agent/ports/cfg-folder.js';
import type { OrderResult } from '../../../../agent/domain/order.js';
import { ManualClock } from '../manual-clock.js';

const LONG_AGO_S = 1_700_000_000;

t.test('a folder of cfg files', (t) => {
  const makeFolder = (t: Test, files: Record<string, string>) => {
    const root = t.testdir({ xen: files, other: { 'far.cfg': "name='far'\n" } });
    const clock = new ManualClock();
    const folder = new DirCfgFolder(join(root, 'xen'), join(root, 'state', 'backup'), clock);
    return { root, folder, clock, path: (name: string) => join(root, 'xen', name) };
  };

  t.test('lists cfg files by path, and says which it cannot read', async (t) => {
    const { root, folder, path } = makeFolder(t, { 'b.cfg': 'b', 'a.cfg': 'a', 'notes.txt': 'x', '.hidden.cfg': 'x' });
    symlinkSync(path('a.cfg'), path('inside.cfg'));
    symlinkSync(join(root, 'other', 'far.cfg'), path('outside.cfg'));
    symlinkSync(join(root, 'none'), path('broken.cfg'));
    mkdirSync(path('folder.cfg'));
    writeFileSync(path('huge.cfg'), Buffer.alloc(1024 * 1024 + 1));
    const found = (await folder.list()).map((file) => `${file.path.slice(root.length + 5)} ${file.kind}`);
    t.strictSame(found, [
      'a.cfg text',
      'b.cfg text',
      'broken.cfg unreadable',
      'folder.cfg unreadable',
      'huge.cfg unreadable',
      'inside.cfg text',
      'outside.cfg unreadable',
    ]);
    await t.rejects(folder.read(path('outside.cfg')), { code: 'wrong_state' });
    await t.rejects(folder.read(path('none.cfg')), { code: 'not_found' });
    for (const outside of [join(root, 'other', 'far.cfg'), path('../other/far.cfg'), path('notes.txt')]) {
      await t.rejects(folder.read(outside), { code: 'invalid' });
    }
  });

  t.test('a survey has what a list has, whatever became of a file since the last one', async (t) => {
    const { root, folder, clock, path } = makeFolder(t, { 'a.cfg': 'one', 'b.cfg': 'b', 'c.cfg': 'c' });
    symlinkSync(path('b.cfg'), path('link.cfg'));
    utimesSync(path('a.cfg'), LONG_AGO_S, LONG_AGO_S);
    const settle = async (): Promise<readonly CfgFile[]> => {
      await folder.survey();
      await clock.advance(3_000);
      return folder.survey();
    };
    const changes: Readonly<Record<string, () => void>> = {
      nothing: () => undefined,
      'as many bytes, the time of change put back': () => {
        writeFileSync(path('a.cfg'), 'two');
        utimesSync(path('a.cfg'), LONG_AGO_S, LONG_AGO_S);
      },
      'another file in its place': () => {
        writeFileSync(path('a.new'), 'six');
        renameSync(path('a.new'), path('a.cfg'));
      },
      'what a link leads to': () => writeFileSync(path('b.cfg'), 'B'),
      'a link in its place': () => {
        rmSync(path('a.cfg'));
        symlinkSync(join(root, 'other', 'far.cfg'), path('a.cfg'));
      },
      gone: () => rmSync(path('b.cfg')),
      'too long': () => writeFileSync(path('c.cfg'), Buffer.alloc(1024 * 1024 + 1)),
      'short again': () => writeFileSync(path('c.cfg'), 'c'),
    };
    for (const [what, change] of Object.entries(changes)) {
      const before = await settle();
      change();
      t.strictSame(await folder.survey(), await folder.list(), what);
      if (what !== 'nothing') continue;
      const plain = (files: readonly CfgFile[]) => files.filter((file) => file.path !== path('link.cfg'));
      const after = plain(await folder.survey());
      t.ok(
        plain(before).every((file, n) => file === after[n]),
        'the same objects',
      );
    }
  });

  t.test('a file is read again while its stat may hide a change, and no longer', async (t) => {
    const path = join(t.testdir({ 'a.cfg': '' }), 'a.cfg');
    const clock = new ManualClock();
    const seen = new SeenCfgs(clock);
    // Its bytes change and its stat does not, as of two writes within one tick of the file system.
    let bytes = 'one';
    const look = async (): Promise<string | undefined> => {
      const file = await seen.look(path, () => Promise.resolve({ kind: 'text', path, text: bytes }));
      return file?.kind === 'text' ? file.text : undefined;
    };
    t.equal(await look(), 'one');
    bytes = 'two';
    t.equal(await look(), 'two', 'at once');
    await clock.advance(2_999);
    bytes = 'three';
    t.equal(await look(), 'three', 'just before');
    await clock.advance(1);
    bytes = 'four';
    t.equal(await look(), 'four', 'the first look after it');
    bytes = 'unseen';
    t.equal(await look(), 'four', 'as of now its stat is believed');

    appendFileSync(path, 'x');
    bytes = 'five';
    t.equal(await look(), 'five', 'another stat');
    await clock.advance(60_000);
    bytes = 'six';
    t.equal(await look(), 'six', 'which has to settle as well');
    seen.keep([]);
    bytes = 'seven';
    t.equal(await look(), 'seven', 'forgotten');
  });

  t.test('what cannot be read is tried at each look, and one that is gone is not there', async (t) => {
    const path = join(t.testdir({ 'a.cfg': '' }), 'a.cfg');
    const clock = new ManualClock();
    const seen = new SeenCfgs(clock);
    const answers: (CfgFile | undefined)[] = [
      { kind: 'text', path, text: 'a' },
      { kind: 'text', path, text: 'a' },
      { kind: 'unreadable', path, problem: 'EIO' },
      { kind: 'unreadable', path, problem: 'EIO' },
      { kind: 'text', path, text: 'a' },
      undefined,
    ];
    const kinds: unknown[] = [];
    for (const answer of answers) {
      // Another stat for each: what was read before is not to be told in its place.
      appendFileSync(path, 'x');
      await clock.advance(3_000);
      kinds.push((await seen.look(path, () => Promise.resolve(answer)))?.kind);
    }
    t.strictSame(
      kinds,
      answers.map((answer) => answer?.kind),
    );
    await seen.look(path, () => Promise.resolve({ kind: 'unreadable', path, problem: 'EIO' }));
    await clock.advance(3_000);
    const found = await seen.look(path, () => Promise.resolve({ kind: 'text', path, text: 'a' }));
    t.equal(found?.kind, 'text', 'though its stat is the same');
    rmSync(path);
    t.equal(await seen.look(path, () => Promise.resolve(undefined)), undefined);
  });

  t.test('a folder that does not exist is empty', async (t) => {
    const { root, folder } = makeFolder(t, {});
    rmSync(join(root, 'xen'), { recursive: true });
    t.strictSame(await folder.list(), []);
    t.strictSame(await folder.survey(), []);
    folder.watch(() => undefined)();
  });

  t.test('replaces a whole file, keeps mode and backup', async (t) => {
    const { root, folder, path } = makeFolder(t, { 'a.cfg': 'before' });
    chmodSync(path('a.cfg'), 0o640);
    symlinkSync('a.cfg', path('link.cfg'));
    await folder.replace(path('a.cfg'), 'before', 'after');
    t.equal(await folder.read(path('a.cfg')), 'after');
    t.equal(statSync(path('a.cfg')).mode & 0o777, 0o640);
    const backup = join(root, 'state', 'backup');
    t.strictSame(
      readdirSync(backup).map((name) => readFileSync(join(backup, name), 'latin1')),
      ['before'],
    );
    await folder.replace(path('link.cfg'), 'after', 'through the link');
    t.ok(lstatSync(path('link.cfg')).isSymbolicLink());
    t.equal(await folder.read(path('a.cfg')), 'through the link');
    await t.rejects(folder.replace(path('a.cfg'), 'after', 'x'), { code: 'raced' });
    await t.rejects(folder.replace(path('none.cfg'), '', 'x'), { code: 'not_found' });
    t.strictSame(readdirSync(join(root, 'xen')).sort(), ['a.cfg', 'link.cfg'], 'no temporary file is left');
  });

  t.test('keeps every byte, whatever its encoding', async (t) => {
    const { folder, path } = makeFolder(t, { 'a.cfg': '' });
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        const text = Buffer.from(bytes).toString('latin1');
        await folder.replace(path('a.cfg'), await folder.read(path('a.cfg')), text);
        return readFileSync(path('a.cfg')).equals(Buffer.from(bytes)) && (await folder.read(path('a.cfg'))) === text;
      }),
      { numRuns: 20 },
    );
  });

  t.test('keeps the newest ten backups of each file', async (t) => {
    const { root, folder, path, clock } = makeFolder(t, { 'a.cfg': '0', 'aa.cfg': '0' });
    await folder.replace(path('aa.cfg'), '0', '1');
    for (let n = 0; n < 12; n += 1) {
      await folder.replace(path('a.cfg'), `${n}`, `${n + 1}`);
      await clock.advance(1);
    }
    const names = readdirSync(join(root, 'state', 'backup')).sort();
    t.equal(names.filter((name) => name.startsWith('a.cfg.')).length, 10);
    t.equal(names.filter((name) => name.startsWith('aa.cfg.')).length, 1);
    const [oldest = ''] = names;
    t.equal(readFileSync(join(root, 'state', 'backup', oldest), 'latin1'), '2');
  });

  t.test('tells of a change', async (t) => {
    const { folder, path } = makeFolder(t, { 'a.cfg': 'a' });
    // The watch by itself does not keep a process alive.
    const alive = setInterval(() => undefined, 1000);
    await new Promise<void>((resolve) => {
      const end = folder.watch(() => {
        end();
        resolve();
      });
      writeFileSync(path('b.cfg'), 'b');
    });
    clearInterval(alive);
  });

  t.test('a write that fails leaves the old file, and nothing else', async (t) => {
    const root = t.testdir({ a: 'old', folder: { x: '' } });
    await t.rejects(writeFileAtomically(join(root, 'folder'), Buffer.from('x'), { mode: 0o600 }), {
      code: 'unavailable',
    });
    await t.rejects(writeFileAtomically(join(root, 'none', 'a'), Buffer.from('x'), { mode: 0o600 }), {
      code: 'unavailable',
      details: { errno: 'ENOENT' },
    });
    t.strictSame(readdirSync(root).sort(), ['a', 'folder']);
  });
  t.end();
});

async function makeIdentity(host: string): Promise<Identity> {
  const keyPem = await nodeKeyMaker.makeKey();
  const request = new x509.Pkcs10CertificateRequest(await nodeKeyMaker.makeRequest(keyPem, host));
  const { privateKey } = await crypto.subtle.generateKey({ name: 'ECDSA', namedCurve: 'P-256' }, true, [
    'sign',
    'verify',
  ]);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: request.subject,
    issuer: 'CN=ca',
    notBefore: new Date('2026-03-01T00:00:00Z'),
    notAfter: new Date('2026-03-02T00:00:00Z'),
    publicKey: request.publicKey,
    signingKey: privateKey,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
  });
  const certificatePem = certificate.toString('pem');
  const places = { addresses: ['a:1'], joinAddresses: ['a:2'], deploymentId: 'd1' };
  return { host, keyPem, certificatePem, caPem: 'ca', ...places, ...nodeKeyMaker.readValidity(certificatePem) };
}

t.test('keys and requests are what OpenSSL takes', async (t) => {
  const keyPem = await nodeKeyMaker.makeKey();
  t.not(await nodeKeyMaker.makeKey(), keyPem);
  const request = await nodeKeyMaker.makeRequest(keyPem, 'dom0-1.grenoble.grid5000.fr');
  const text = execFileSync('openssl', ['req', '-verify', '-noout', '-subject'], {
    input: request,
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  t.match(text.toString(), /CN ?= ?dom0-1\.grenoble\.grid5000\.fr/);
  const data = Buffer.from('what is signed');
  t.ok(verify('sha256', data, createPublicKey(keyPem), nodeKeyMaker.sign(keyPem, data)));
  await t.rejects(nodeKeyMaker.makeRequest('no key', 'a'), { code: 'invalid' });
  t.throws(() => nodeKeyMaker.readValidity('no certificate'), { code: 'invalid' });
});

t.test('the identity store', (t) => {
  t.test('gives back what was saved, with times of the certificate', async (t) => {
    const root = t.testdir();
    const store = new DirIdentityStore(root, nodeKeyMaker);
    t.equal(await store.load(), undefined);
    t.equal(await store.moveAside(), undefined);
    const first = await makeIdentity('dom0-1');
    await store.savePendingKey('pending');
    t.equal(await store.loadPendingKey(), 'pending');
    await store.save(first);
    t.strictSame(await store.load(), first);
    t.equal(first.notAfterMs, Date.parse('2026-03-02T00:00:00Z'));
    t.equal(await store.loadPendingKey(), undefined, 'the join is over');
    t.equal(statSync(join(root, 'identity', 'key.pem')).mode & 0o777, 0o600);
    const second = await makeIdentity('dom0-1');
    await store.save(second);
    t.strictSame(await store.load(), second);
    t.equal(readdirSync(root).length, 2, 'one link, one folder');
  });

  t.test('moves aside without loss, as often as it must', async (t) => {
    const root = t.testdir();
    const store = new DirIdentityStore(root, nodeKeyMaker);
    for (const n of [1, 2]) {
      await store.save(await makeIdentity('dom0-1'));
      const aside = await store.moveAside();
      t.equal(aside, join(root, `identity.moved-${n}`));
      t.ok(existsSync(join(root, `identity.moved-${n}`, 'key.pem')));
      t.equal(await store.load(), undefined);
    }
    await store.save(await makeIdentity('dom0-1'));
    t.ok(existsSync(join(root, 'identity.moved-1', 'key.pem')), 'a later identity leaves them alone');
  });

  t.test('a crash at any step leaves a whole identity, or none', async (t) => {
    const root = t.testdir();
    const store = new DirIdentityStore(root, nodeKeyMaker);
    const identity = await makeIdentity('dom0-1');
    await store.save(identity);
    // As if the power had failed between the new folder and the change of the link.
    mkdirSync(join(root, 'identity.0badcafe'));
    writeFileSync(join(root, 'identity.0badcafe', 'key.pem'), 'half a k');
    t.strictSame(await store.load(), identity);
    // As if it had failed between moving the folder and removing the link.
    const folder = readdirSync(root).find(
      (name) => /^identity\.[\da-f]{8}$/.test(name) && name !== 'identity.0badcafe',
    );
    renameSync(join(root, folder ?? ''), join(root, 'identity.moved-1'));
    t.equal(await store.load(), undefined);
    await store.save(identity);
    t.strictSame(await store.load(), identity);
    t.notOk(existsSync(join(root, 'identity.0badcafe')));
  });

  t.test('one that cannot be read is an error, not a missing one', async (t) => {
    const root = t.testdir();
    const store = new DirIdentityStore(root, nodeKeyMaker);
    await store.save(await makeIdentity('dom0-1'));
    writeFileSync(join(root, 'identity', 'meta.json'), '{');
    await t.rejects(store.load(), { code: 'wrong_state' });
    rmSync(join(root, 'identity', 'key.pem'));
    await t.rejects(store.load(), { code: 'wrong_state' });
    const inTheWay = new DirIdentityStore(t.testdir({ identity: { mine: '' } }), nodeKeyMaker);
    await t.rejects(inTheWay.save(await makeIdentity('dom0-1')), { code: 'wrong_state' });
  });
  t.end();
});

t.test('the order journal', (t) => {
  const done = (orderId: string): OrderResult => ({ orderId, failure: undefined, vm: undefined, warnings: ['w'] });
  const vm: OrderResult['vm'] = {
    key: '/x/a.cfg',
    name: 'a',
    cfgPath: '/x/a.cfg',
    uuid: undefined,
    state: 'running',
    memoryMib: 1,
    vcpus: 1,
    vifs: [{ index: 0, mac: parseMac('00:16:3e:00:00:01'), bridge: undefined, guestAddress: parseIpv4('10.0.0.1') }],
    problem: undefined,
  };

  t.test('gives back what was appended, and survives a damaged end', async (t) => {
    const path = join(t.testdir(), 'orders.journal');
    const journal = new FileOrderJournal(path);
    t.strictSame(await journal.load(), []);
    const failed: OrderResult = {
      orderId: '1',
      failure: { code: 'timeout', message: 'm\nn', details: { a: 'b' } },
      vm,
      warnings: [],
    };
    await Promise.all([journal.append(failed), journal.append(done('2'))]);
    t.strictSame(await new FileOrderJournal(path).load(), [failed, done('2')]);
    appendFileSync(path, '{"orderId":"3","fail');
    const reopened = new FileOrderJournal(path);
    t.strictSame(await reopened.load(), [failed, done('2')]);
    await reopened.append(done('4'));
    t.strictSame(await new FileOrderJournal(path).load(), [failed, done('2'), done('4')]);
    await t.rejects(new FileOrderJournal(join(path, 'x')).append(done('5')), { code: 'unavailable' });
  });

  t.test('keeps the last thousand, and its file small', async (t) => {
    const path = join(t.testdir(), 'orders.journal');
    const lines = Array.from({ length: 2000 }, (_, n) => JSON.stringify({ orderId: `${n}` }));
    writeFileSync(path, `${lines.join('\n')}\n`);
    const journal = new FileOrderJournal(path);
    t.match(await journal.load(), { length: 1000, 0: { orderId: '1000' } });
    await journal.append(done('2000'));
    t.equal(readFileSync(path, 'utf8').split('\n').length - 1, 1000);
    t.match(await new FileOrderJournal(path).load(), {
      length: 1000,
      0: { orderId: '1001' },
      999: { orderId: '2000' },
    });
  });
  t.end();
});

t.test('the record of the agent', async (t) => {
  const root = t.testdir();
  const record = new FileAgentRecord(root);
  t.equal(await record.nextSessionCounter(), 1);
  t.equal(await new FileAgentRecord(root).nextSessionCounter(), 2);
  writeFileSync(join(root, 'session-counter'), 'x');
  await t.rejects(record.nextSessionCounter(), { code: 'wrong_state' });
  t.equal(await record.readStatus(), undefined);
  const session = { kind: 'closed', sinceMs: 1, reason: 'r' } as const;
  const status = { version: '1', isSimulated: true, pid: 1, startedAtMs: 1, session };
  await record.writeStatus(status);
  t.strictSame(await record.readStatus(), status);
  writeFileSync(join(root, 'status.json'), '{}');
  t.equal(await record.readStatus(), undefined);
});

t.test('the lock of a state folder', (t) => {
  t.test('is had by one at a time, who is named, under every spelling of the path', async (t) => {
    const root = t.testdir({ link: t.fixture('symlink', 'state') });
    const state = join(root, 'state');
    const lock = await lockStateFolder(state, 41);
    t.equal(statSync(state).mode & 0o777, 0o700, 'the folder is made');
    for (const path of [state, `${state}/`, join(root, 'link')]) {
      await t.rejects(lockStateFolder(path, 42), { code: 'unavailable', details: { pid: '41', hint: /--state-dir/ } });
    }
    const other = await lockStateFolder(join(root, 'other'), 42);
    t.strictSame(readdirSync(state), [], 'nothing is written that could be stale');
    await lock.release();
    await lock.release();
    const next = await lockStateFolder(state, 43);
    await t.rejects(lockStateFolder(state, 42), { code: 'unavailable', details: { pid: '43' } });
    await Promise.all([next.release(), other.release()]);
  });

  t.test('of many at once, one gets it', async (t) => {
    const state = t.testdir();
    const results = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => lockStateFolder(state, n + 1)));
    const locks = results.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    t.equal(locks.length, 1);
    t.ok(results.every((one) => one.status === 'fulfilled' || (one.reason as AppError).code === 'unavailable'));
    await locks[0]?.release();
  });

  t.test('a folder that cannot be made is unavailable', async (t) => {
    const root = t.testdir({ file: '' });
    await t.rejects(lockStateFolder(join(root, 'file', 'state'), 1), { code: 'unavailable', message: /ENOTDIR/ });
  });
  t.end();
});

t.test('the machine tells what it is', async (t) => {
  const facts = await new SystemHostReport().readFacts();
  t.match(facts, { kernel: /^\d+\.\d+/, nodeVersion: process.versions.node, xenVersion: '', bootId: /^[\da-f-]{36}$/ });
  t.ok(facts.cpus >= 1 && facts.memoryMib >= facts.memoryFreeMib && facts.memoryFreeMib > 0);
});
