import { execFileSync } from 'node:child_process';
import * as nodeFs from 'node:fs';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { parseIpv4 } from '../../../../shared/domain/ipv4.js';
import { parseMac } from '../../../../shared/domain/mac.js';
import type { Exec } from '../../../../shared/exec.js';
import type { BootFs } from '../../../../agent/adapters/disk/boot-fs.js';
import { FileDeploymentRecord, FileEventBacklog, FileLeaseBook } from '../../../../agent/adapters/disk/boot-record.js';
import { DirAutostart } from '../../../../agent/adapters/disk/dir-autostart.js';
import { DirBootFolder } from '../../../../agent/adapters/disk/dir-boot-folder.js';
import { DirHeldFolder } from '../../../../agent/adapters/disk/dir-held-folder.js';
import { SystemDeployment } from '../../../../agent/adapters/system/deployment.js';
import { parseSuperblock } from '../../../../agent/adapters/system/superblock.js';
import type { Deployment } from '../../../../agent/domain/deployment.js';
import { bootHost, type BootOptions, type BootParts } from '../../../../agent/services/boot.js';
import { ManualClock } from '../manual-clock.js';

type FixtureDirContent = NonNullable<Parameters<Test['testdir']>[0]>;

const OPTIONS: BootOptions = { policy: 'deployment', isDryRun: false, timeoutMs: 60_000 };

/** Answers every command with this, and keeps a list of them. */
function fakeExec(kind: 'ok' | 'missing', stdout = ''): Exec & { readonly calls: string[] } {
  const calls: string[] = [];
  return {
    calls,
    run: (argv) => {
      calls.push(argv.join(' '));
      return Promise.resolve({ kind, argv, stdout: Buffer.from(stdout), stderr: '' });
    },
  };
}

/** The file system, until its n-th change: then the machine is dead, and nothing works any more. */
function dyingFs(steps: number): { readonly fs: BootFs; readonly isDead: () => boolean } {
  let left = steps;
  const readsOnly = /^(?:read|stat|lstat|realpath)/;
  const fs = new Proxy(nodeFs, {
    get(target, name) {
      const call = Reflect.get(target, name) as (...args: unknown[]) => unknown;
      return (...args: unknown[]): unknown => {
        if (!readsOnly.test(String(name)) && left-- <= 0) throw Object.assign(new Error('dead'), { code: 'EIO' });
        return left < 0 ? fail() : call(...args);
      };
    },
  });
  const fail = (): never => {
    throw Object.assign(new Error('dead'), { code: 'EIO' });
  };
  return { fs, isDead: () => left < 0 };
}

/** A file system on which some calls fail. */
function faultyFs(faults: Readonly<Partial<Record<keyof BootFs, (path: string) => string | undefined>>>): BootFs {
  return new Proxy(nodeFs, {
    get(target, name) {
      const call = Reflect.get(target, name) as (...args: unknown[]) => unknown;
      return (...args: unknown[]): unknown => {
        const code = faults[name as keyof BootFs]?.(String(args[0]));
        if (code !== undefined) throw Object.assign(new Error(code), { code });
        return call(...args);
      };
    },
  });
}

interface Dom0 {
  readonly root: string;
  readonly parts: BootParts;
  readonly clock: ManualClock;
  readonly exec: ReturnType<typeof fakeExec>;
  readonly xen: (name: string) => string;
  readonly read: (name: string) => string;
}

function makeDom0(t: Test, files: Record<string, string>, fs: BootFs = nodeFs): Dom0 {
  const root = t.testdir({ xen: { auto: {} }, save: {}, far: {} });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(root, 'xen', name), text, 'latin1');
  return openDom0(root, fs);
}

function openDom0(root: string, fs: BootFs = nodeFs, deploymentId = 'd1'): Dom0 {
  const [clock, exec] = [new ManualClock(), fakeExec('ok')];
  const state = join(root, 'state');
  const places = { xenDir: join(root, 'xen'), autoDir: join(root, 'xen', 'auto'), saveDir: join(root, 'save') };
  const deployment: Deployment = { id: deploymentId, facts: { rootFs: deploymentId, machine: undefined, macs: [] } };
  let drawn = 0;
  const parts: BootParts = {
    folder: new DirBootFolder({ ...places, backupDir: join(state, 'backup') }, clock, exec, fs),
    held: new DirHeldFolder(join(root, 'held'), fs),
    deployment: {
      readDeploymentId: () => Promise.resolve(deployment.id),
      readDeployment: () => Promise.resolve(deployment),
    },
    deploymentRecord: new FileDeploymentRecord(state),
    leases: new FileLeaseBook(state),
    backlog: new FileEventBacklog(state),
    clock,
    draw: () => 0xd00000 + (drawn += 1),
  };
  const xen = (name: string): string => join(root, 'xen', name);
  return { root, parts, clock, exec, xen, read: (name) => readFileSync(xen(name), 'latin1') };
}

const cfg = (n: number, mac = '00:16:3e:00:00:01'): string =>
  `# \xe9\xff mac=00:16:3e:aa:aa:aa\nname = 'vm${n}'\nvif = [ 'mac=${mac}, bridge=eth0' ]\n`;
const isWhole = (text: string, n: number): boolean =>
  text === cfg(n) ||
  (/^[^]*mac=00:16:3e:d0:00:[\da-f]{2}, bridge=eth0' \]\n$/.test(text) && text.length === cfg(n).length);

t.test('the boot step on files', (t) => {
  t.test('gives MACs, keeps the bytes before, and changes nothing the second time', async (t) => {
    const { root, parts, xen, read } = makeDom0(t, { 'a.cfg': cfg(1), 'b.cfg': cfg(2), 'xl.conf': 'vif = [""]\n' });
    chmodSync(xen('a.cfg'), 0o640);
    const dry = await bootHost({ ...OPTIONS, isDryRun: true }, parts);
    t.equal(dry.vifs.length, 2);
    t.equal(read('a.cfg'), cfg(1));
    t.strictSame(readdirSync(root).sort(), ['far', 'save', 'xen'], 'a dry run writes nothing');

    const report = await bootHost(OPTIONS, parts);
    t.match(report, { isNewDeployment: true, refusals: [], warnings: [] });
    const [a, b] = report.vifs.map((vif) => vif.new);
    t.equal(read('a.cfg'), cfg(1, a));
    t.equal(read('b.cfg'), cfg(2, b));
    t.equal(statSync(xen('a.cfg')).mode & 0o777, 0o640);
    const backup = join(root, 'state', 'backup');
    t.strictSame(
      readdirSync(backup).map((name) => readFileSync(join(backup, name), 'latin1')),
      [cfg(1), cfg(2)],
    );
    t.equal(statSync(backup).mode & 0o777, 0o700);
    t.strictSame(readdirSync(join(root, 'xen')).sort(), ['a.cfg', 'auto', 'b.cfg', 'xl.conf'], 'nothing is left over');
    t.equal(read('xl.conf'), 'vif = [""]\n');

    const again = await bootHost(OPTIONS, parts);
    t.match(again, {
      isNewDeployment: false,
      vifs: [
        { new: a, reason: 'kept' },
        { new: b, reason: 'kept' },
      ],
    });
    t.equal(readdirSync(backup).length, 2, 'no file was written');
    const events = await parts.backlog.list();
    t.strictSame(
      events.map(({ kind }) => kind),
      ['host.deployed', 'vm.mac-changed', 'vm.mac-changed'],
      'and nothing more is to be told',
    );
    const redeployed = await bootHost(OPTIONS, openDom0(root, nodeFs, 'd2').parts);
    t.match(redeployed, { isNewDeployment: true });
    for (const { old, new: mac } of redeployed.vifs) t.not(mac, old);
  });

  t.test('links: within the folder once, out of it not at all', async (t) => {
    const { root, parts, xen, read } = makeDom0(t, { 'a.cfg': cfg(1), 'auto/own': cfg(2) });
    writeFileSync(join(root, 'far', 'vm.cfg'), cfg(3), 'latin1');
    mkdirSync(xen('sub'));
    writeFileSync(xen('sub/deep'), cfg(4), 'latin1');
    const links = {
      'again.cfg': 'a.cfg',
      'auto/a': '../a.cfg',
      'auto/deep': '../sub/deep',
      'far.cfg': '../far/vm.cfg',
      'auto/far': join(root, 'far', 'vm.cfg'),
      'auto/gone': '../gone.cfg',
      'loop.cfg': 'loop.cfg',
    };
    for (const [name, target] of Object.entries(links)) symlinkSync(target, xen(name));
    mkdirSync(xen('folder.cfg'));
    execFileSync('mkfifo', [xen('pipe.cfg')]);
    const report = await bootHost(OPTIONS, parts);
    t.strictSame(
      report.vifs.map(({ file }) => file),
      ['a.cfg', 'auto/deep', 'auto/own'].map(xen),
      'each file once, by its own name where the folder shows it',
    );
    t.strictSame(
      report.refusals.map(({ file }) => file),
      ['auto/far', 'auto/gone', 'far.cfg', 'loop.cfg', 'pipe.cfg'].map(xen),
    );
    t.equal(readFileSync(join(root, 'far', 'vm.cfg'), 'latin1'), cfg(3));
    t.equal(readlinkSync(xen('again.cfg')), 'a.cfg');
    t.not(read('sub/deep'), cfg(4));
    t.strictSame(
      report.holds.map(({ path }) => path),
      ['a', 'deep', 'far', 'gone', 'own'].map((name) => xen(`auto/${name}`)),
    );
    t.strictSame(readdirSync(xen('auto')), []);
  });

  t.test('a link of `vm autostart` is held back when the lease is over', async (t) => {
    const { root, parts, clock, xen } = makeDom0(t, { 'a.cfg': cfg(1), 'b.cfg': cfg(2, '00:16:3e:00:00:02') });
    await parts.deploymentRecord.write({ id: 'd1', facts: { rootFs: 'd1', machine: undefined, macs: [] } });
    const autostart = new DirAutostart(xen('auto'));
    for (const name of ['a.cfg', 'b.cfg']) await autostart.set(xen(name), true);
    const endsAtMs = clock.nowMs() + 60_000;
    const leased = (n: number, ms: number) => ({
      ...{ cfgPath: xen(n === 1 ? 'a.cfg' : 'b.cfg'), vifIndex: 0, deploymentId: 'd1', endsAtMs: ms },
      ...{ address: parseIpv4(`10.0.0.${n}`), mac: parseMac(`00:16:3e:00:00:0${n}`) },
    });
    await new FileLeaseBook(join(root, 'state')).keep([leased(1, endsAtMs), leased(2, endsAtMs + 3_600_000)]);
    t.strictSame((await bootHost(OPTIONS, parts)).holds, [], 'while it lasts, xendomains may have it');
    await clock.advance(60_000);
    const report = await bootHost(OPTIONS, parts);
    t.match(report.holds, [{ path: xen('auto/a.cfg'), reason: 'the lease of its address 10.0.0.1 has ended' }]);
    t.strictSame(readdirSync(xen('auto')), ['b.cfg'], 'and the other one stays');
    t.strictSame([...(await autostart.list())], [xen('b.cfg')]);
  });

  t.test('a file that cannot be written is as it was, held back, and tried again', async (t) => {
    const fs = faultyFs({ openSync: (path) => (path.includes('.full.cfg.boot-') ? 'ENOSPC' : undefined) });
    const { root, parts, xen, read } = makeDom0(t, { 'a.cfg': cfg(1), 'full.cfg': cfg(2) }, fs);
    await parts.deploymentRecord.write({ id: 'd1', facts: { rootFs: 'd1', machine: undefined, macs: [] } });
    symlinkSync('../full.cfg', xen('auto/full'));
    const report = await bootHost({ ...OPTIONS, policy: 'every-boot' }, parts);
    t.match(report.refusals, [{ file: xen('full.cfg'), reason: /ENOSPC/ }]);
    t.match(report.holds, [{ path: xen('auto/full'), reason: /ENOSPC/ }]);
    t.equal(read('full.cfg'), cfg(2));
    t.not(read('a.cfg'), cfg(1));
    t.notOk(existsSync(xen('auto/full')));
    const fresh = openDom0(root, fs, 'd2');
    await bootHost(OPTIONS, fresh.parts);
    t.equal((await fresh.parts.deploymentRecord.read())?.id, 'd1', 'the next boot finds a new deployment again');
  });

  t.test('what cannot be held back is an error: then nothing may start', async (t) => {
    const fs = faultyFs({ mkdirSync: (path) => (path.endsWith('/held') ? 'EROFS' : undefined) });
    const { parts, xen } = makeDom0(t, { 'a.cfg': cfg(1) }, fs);
    symlinkSync('../a.cfg', xen('auto/a'));
    await t.rejects(bootHost(OPTIONS, parts), { code: 'unavailable', details: { errno: 'EROFS', hint: /started/ } });
  });

  t.test('many files are synced at once; where sync(1) fails, one by one', async (t) => {
    const files = Object.fromEntries(Array.from({ length: 40 }, (_, n) => [`vm${n}.cfg`, cfg(n)]));
    const { root, parts, exec } = makeDom0(t, files);
    await bootHost(OPTIONS, parts);
    t.match(exec.calls, [/^sync --file-system .*state\/backup .*xen$/]);
    let synced = 0;
    const fs = faultyFs({ fsyncSync: () => ((synced += 1), undefined), linkSync: () => 'EXDEV' });
    const places = { xenDir: join(root, 'xen'), autoDir: join(root, 'xen', 'auto'), saveDir: undefined };
    const backupDir = join(root, 'state', 'backup');
    const folder = new DirBootFolder({ ...places, backupDir }, new ManualClock(), fakeExec('missing'), fs);
    await bootHost({ ...OPTIONS, policy: 'every-boot' }, { ...parts, folder });
    t.ok(synced >= 80, 'each new file and each backup');
  });

  t.test('gives up in time, with whole files', async (t) => {
    const { parts, clock, read } = makeDom0(t, { 'a.cfg': cfg(1) });
    const late: BootParts = {
      ...parts,
      folder: {
        gather: () => parts.folder.gather(),
        replaceAll: async (rewrites, deadlineMs) => {
          await clock.advance(OPTIONS.timeoutMs + 1);
          return parts.folder.replaceAll(rewrites, deadlineMs);
        },
      },
    };
    await t.rejects(bootHost(OPTIONS, late), { code: 'timeout' });
    t.equal(read('a.cfg'), cfg(1));
  });

  t.test('dead at any step, each file is whole, and the next boot ends the work', async (t) => {
    for (let steps = 0; ; steps += 1) {
      const { fs, isDead } = dyingFs(steps);
      const { root, parts, xen } = makeDom0(t, { 'a.cfg': cfg(1), 'b.cfg': cfg(2) }, fs);
      symlinkSync('../a.cfg', xen('auto/a'));
      writeFileSync(join(root, 'save', 'vm'), 'memory');
      await bootHost(OPTIONS, parts).catch(() => undefined);
      const texts = ['a.cfg', 'b.cfg'].map((name) => readFileSync(xen(name), 'latin1'));
      t.ok(
        texts.every((text, n) => isWhole(text, n + 1)),
        `dead after ${steps} changes`,
      );
      const next = openDom0(root);
      await bootHost(OPTIONS, next.parts);
      if (!isDead()) break;
      t.strictSame(readdirSync(join(root, 'xen')).sort(), ['a.cfg', 'auto', 'b.cfg'], 'nothing is left over');
      t.strictSame([readdirSync(xen('auto')), readdirSync(join(root, 'save'))], [[], []], 'all is held');
      t.equal((await next.parts.deploymentRecord.read())?.id, 'd1');
      next.parts.held.releaseAll();
      t.equal(readlinkSync(xen('auto/a')), '../a.cfg');
      t.equal(readFileSync(join(root, 'save', 'vm'), 'utf8'), 'memory');
    }
  });

  t.test('dead at any step of many files', async (t) => {
    const names = Array.from({ length: 34 }, (_, n) => `vm${n + 10}.cfg`);
    const files = Object.fromEntries(names.map((name, n) => [name, cfg(n + 10)]));
    for (let steps = 7; ; steps += 29) {
      const { fs, isDead } = dyingFs(steps);
      const { parts, read } = makeDom0(t, files, fs);
      await bootHost(OPTIONS, parts).catch(() => undefined);
      if (!isDead()) break;
      t.ok(
        names.every((name, n) => isWhole(read(name), n + 10)),
        `dead after ${steps} changes`,
      );
    }
  });

  t.test('keeps the newest ten backups of each file', async (t) => {
    const { root, parts, clock } = makeDom0(t, { 'a.cfg': cfg(1), 'aa.cfg': cfg(2) });
    for (let n = 0; n < 12; n += 1) {
      await bootHost({ ...OPTIONS, policy: 'every-boot' }, parts);
      await clock.advance(1);
    }
    const names = readdirSync(join(root, 'state', 'backup'));
    t.equal(names.filter((name) => name.startsWith('a.cfg.')).length, 10);
    t.equal(names.filter((name) => name.startsWith('aa.cfg.')).length, 10);
  });
  t.end();
});

t.test('what is held', (t) => {
  const makeHeld = (t: Test, fs: BootFs = nodeFs) => {
    const root = t.testdir({ auto: { own: 'cfg' }, save: { vm: 'memory' } });
    symlinkSync('../a.cfg', join(root, 'auto', 'link'));
    const items = [
      { kind: 'autostart', path: join(root, 'auto', 'own'), reason: 'r' },
      { kind: 'autostart', path: join(root, 'auto', 'link'), reason: 'r' },
      { kind: 'saved state', path: join(root, 'save', 'vm'), reason: 'r' },
    ] as const;
    const times = statSync(join(root, 'save', 'vm'));
    utimesSync(join(root, 'save', 'vm'), times.atime, new Date('2026-01-01T00:00:00.123Z'));
    return {
      root,
      items,
      held: new DirHeldFolder(join(root, 'held'), fs),
      again: new DirHeldFolder(join(root, 'held')),
    };
  };
  /** Renames and hard links between folders fail, as between two file systems. */
  const twoFs = (): BootFs =>
    new Proxy(nodeFs, {
      get(target, name) {
        const call = Reflect.get(target, name) as (...args: unknown[]) => unknown;
        return (...args: unknown[]): unknown => {
          const [from, to] = args.map(String);
          const isFar =
            (name === 'renameSync' || name === 'linkSync') && from?.includes('/held/') !== to?.includes('/held/');
          if (isFar) throw Object.assign(new Error('EXDEV'), { code: 'EXDEV' });
          return call(...args);
        };
      },
    });

  for (const [name, makeFs] of [
    ['a rename', () => nodeFs],
    ['a copy', twoFs],
  ] as const) {
    t.test(`goes by ${name}, and comes back as it was, once`, (t) => {
      const { root, items, held } = makeHeld(t, makeFs());
      const moved = held.hold(items);
      t.equal(moved.length, 3);
      t.strictSame([readdirSync(join(root, 'auto')), readdirSync(join(root, 'save'))], [[], []]);
      t.equal(readFileSync(moved[2]?.heldAt ?? '', 'utf8'), 'memory');
      t.strictSame(held.hold(items), [], 'what is gone is not held twice');
      t.strictSame(
        held.releaseAll().map(({ kind, path }) => [kind, path]),
        items.map(({ path }) => ['released', path]),
      );
      t.equal(readFileSync(join(root, 'auto', 'own'), 'utf8'), 'cfg');
      t.equal(readlinkSync(join(root, 'auto', 'link')), '../a.cfg');
      t.equal(Math.round(statSync(join(root, 'save', 'vm')).mtimeMs), Date.parse('2026-01-01T00:00:00.123Z'));
      t.strictSame(held.releaseAll(), []);
      t.strictSame(readdirSync(join(root, 'held')), []);
      t.end();
    });

    t.test(`dead at any step of ${name}, nothing is lost`, (t) => {
      let isThrough = false;
      for (let steps = 0; !isThrough; steps += 1) {
        const dying = dyingFs(steps);
        const far = makeFs();
        // Counted first, then refused as too far.
        const fs = new Proxy(dying.fs, {
          get:
            (target, key) =>
            (...args: unknown[]) => {
              if (key === 'renameSync' || key === 'linkSync')
                (Reflect.get(far === nodeFs ? target : far, key) as (...a: unknown[]) => unknown)(...args);
              else return (Reflect.get(target, key) as (...a: unknown[]) => unknown)(...args);
              return undefined;
            },
        });
        const { root, items, held, again } = makeHeld(t, fs);
        try {
          held.hold(items);
          held.releaseAll();
        } catch {
          // Dead.
        }
        isThrough = !dying.isDead();
        const kept = again.releaseAll().filter(({ kind }) => kind === 'kept');
        t.strictSame(kept, [], `dead after ${steps} changes`);
        t.equal(readFileSync(join(root, 'auto', 'own'), 'utf8'), 'cfg');
        t.equal(readlinkSync(join(root, 'auto', 'link')), '../a.cfg');
        t.equal(readFileSync(join(root, 'save', 'vm'), 'utf8'), 'memory');
      }
      t.end();
    });
  }

  t.test('overwrites nothing, and says what stays held', (t) => {
    const { root, items, held } = makeHeld(t);
    held.hold(items);
    writeFileSync(join(root, 'auto', 'own'), 'mine');
    symlinkSync('../a.cfg', join(root, 'auto', 'link'));
    t.match(held.releaseAll(), [
      { kind: 'kept', path: items[0].path, reason: /something else/ },
      { kind: 'released', path: items[1].path },
      { kind: 'released', path: items[2].path },
    ]);
    t.equal(readFileSync(join(root, 'auto', 'own'), 'utf8'), 'mine');
    const [kept] = held.releaseAll();
    t.match(kept, { kind: 'kept', path: items[0].path });
    t.equal(kept?.kind === 'kept' && readFileSync(kept.heldAt, 'utf8'), 'cfg');
    t.end();
  });

  t.test('a note that is damaged keeps its things, and does not stop the others', (t) => {
    const { root, items, held } = makeHeld(t);
    held.hold(items.slice(0, 1));
    held.hold(items.slice(1));
    writeFileSync(join(root, 'held', '1', 'note.json'), '[{');
    const answers = held.releaseAll().map(({ kind, path }) => [kind, path]);
    t.strictSame(answers, [
      ['released', items[1].path],
      ['released', items[2].path],
      ['kept', join(root, 'held', '1')],
    ]);
    t.ok(existsSync(join(root, 'held', '1', '0-own')));
    t.end();
  });
  t.end();
});

t.test('records of the boot step', async (t) => {
  const root = join(t.testdir(), 'state');
  const record = new FileDeploymentRecord(root);
  t.equal(await record.read(), undefined);
  const deployment: Deployment = { id: 'd', facts: { rootFs: undefined, machine: 'm', macs: ['a'] } };
  await record.write(deployment);
  t.strictSame(await record.read(), deployment);
  writeFileSync(join(root, 'deployment.json'), '{');
  t.equal(await record.read(), undefined);

  const book = new FileLeaseBook(root);
  t.strictSame(await book.list(), []);
  const [address, mac] = [parseIpv4('10.180.0.1'), parseMac('00:16:3e:b4:00:01')];
  const records = [0, 1].map((vifIndex) => ({
    cfgPath: '/a',
    vifIndex,
    address,
    mac,
    deploymentId: 'd',
    endsAtMs: undefined,
  }));
  await Promise.all(records.map((one) => book.keep([one])));
  t.strictSame(await new FileLeaseBook(root).list(), records, 'two at once are both kept');
  const { ino } = statSync(join(root, 'leases.json'));
  await book.keep(records.slice(1));
  t.equal(statSync(join(root, 'leases.json')).ino, ino, 'the same again writes nothing');
  await book.replaceAll([]);
  t.strictSame(await book.list(), []);

  const backlog = new FileEventBacklog(root);
  const event = (n: number) => ({ kind: 'vm.held', message: `${n}`, vmKey: undefined, details: { a: 'b' } });
  await backlog.append([]);
  t.notOk(existsSync(join(root, 'events.json')));
  await backlog.append([event(1)]);
  await backlog.append([event(2), event(3)]);
  t.strictSame(await new FileEventBacklog(root).list(), [event(1), event(2), event(3)]);
  await backlog.dropFirst(2);
  t.strictSame(await backlog.list(), [event(3)]);
  await backlog.append(Array.from({ length: 1500 }, (_, n) => event(n)));
  t.match(await backlog.list(), { length: 1000, 999: event(1499) });
});

t.test('what tells one deployment from another', (t) => {
  const superblock = (change: (bytes: Buffer) => void): Buffer => {
    const bytes = Buffer.alloc(72 * 1024);
    change(bytes);
    return bytes;
  };
  t.test('the root file system', (t) => {
    const root = t.testdir();
    const image = join(root, 'image');
    writeFileSync(image, Buffer.alloc(1024 * 1024));
    const uuid = '0f6e1c9a-1111-4222-8333-abcdefabcdef';
    execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', '-U', uuid, image], { stdio: 'pipe' });
    const told = execFileSync('dumpe2fs', ['-h', image], {
      env: { LC_ALL: 'C', TZ: 'UTC', PATH: '/usr/sbin:/sbin' },
      stdio: 'pipe',
    });
    const madeAt = /^Filesystem created: +(.*)$/m.exec(told.toString())?.[1];
    const expected = `ext:${uuid}:${Date.parse(`${madeAt} UTC`) / 1000}`;
    t.equal(parseSuperblock(readFileSync(image)), expected);
    const xfs = superblock((bytes) => {
      bytes.write('XFSB', 0, 'latin1');
      bytes.fill(0xab, 32, 48);
    });
    t.equal(parseSuperblock(xfs), 'xfs:abababab-abab-abab-abab-abababababab');
    const btrfs = superblock((bytes) => {
      bytes.write('_BHRfS_M', 64 * 1024 + 0x40, 'latin1');
      bytes.fill(0xcd, 64 * 1024 + 0x20, 64 * 1024 + 0x30);
    });
    t.equal(parseSuperblock(btrfs), 'btrfs:cdcdcdcd-cdcd-cdcd-cdcd-cdcdcdcdcdcd');
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(72 * 1024), Buffer.from('XFSB')]) {
      t.equal(parseSuperblock(bytes), undefined);
    }
    t.end();
  });

  t.test('file system, machine and NICs, but not the boot', async (t) => {
    const ext = superblock((bytes) => bytes.writeUInt16LE(0xef53, 1024 + 0x38));
    const nic = (address: string, more: Record<string, FixtureDirContent> = {}): FixtureDirContent => ({
      address: `${address}\n`,
      ...more,
    });
    const root = t.testdir({
      proc: {
        self: {
          mountinfo:
            '1 1 0:1 / / rw - rootfs rootfs rw\n22 1 254:1 / / rw,relatime - ext4 /dev/root rw\n23 22 0:2 / /proc rw - proc proc rw\n',
        },
      },
      sys: {
        dev: { block: { '254:1': { uevent: 'MAJOR=254\nMINOR=1\nDEVNAME=vda1\n' } } },
        class: {
          dmi: { id: { product_uuid: '4C4C4544-0001\n' } },
          net: {
            eth0: nic('02:00:00:00:00:99', { device: {} }),
            eth1: nic('00:11:22:33:44:55', { device: {} }),
            eth1v0: nic('00:11:22:33:44:66', { device: { physfn: {} } }),
            br0: nic('00:11:22:33:44:77'),
            'vif1.0': nic('fe:ff:ff:ff:ff:ff', { device: { nodename: 'backend/vif/1/0\n' } }),
          },
        },
      },
      dev: { vda1: ext },
    });
    const links = [{ ifname: 'eth0', permaddr: '00:11:22:33:44:AA' }, { ifname: 'br0' }];
    const exec = fakeExec('ok', JSON.stringify(links));
    const found = await new SystemDeployment(exec, root).readDeployment();
    t.strictSame(found.facts, {
      rootFs: 'ext:00000000-0000-0000-0000-000000000000:0',
      machine: '4c4c4544-0001',
      macs: ['00:11:22:33:44:55', '00:11:22:33:44:aa'],
    });
    t.match(found.id, /^[\da-f]{32}$/);
    t.equal(await new SystemDeployment(exec, root).readDeploymentId(), found.id, 'the next boot is the same');
    const without = await new SystemDeployment(fakeExec('missing'), root).readDeployment();
    t.strictSame(without.facts.macs, ['00:11:22:33:44:55', '02:00:00:00:00:99'], 'without ip(8), what sysfs has');

    ext.writeUInt32LE(1, 1024 + 0x108);
    writeFileSync(join(root, 'dev', 'vda1'), ext);
    t.not(await new SystemDeployment(exec, root).readDeploymentId(), found.id, 'a file system made anew');
  });

  t.test('a machine of which nothing is known', async (t) => {
    const root = t.testdir({});
    await t.rejects(new SystemDeployment(fakeExec('missing'), root).readDeployment(), { code: 'wrong_state' });
    t.ok(lstatSync(root).isDirectory());
  });
  t.end();
});
