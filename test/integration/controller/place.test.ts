import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import t, { type Test } from 'tap';
import { prepareSocket } from '../../../controller/adapters/grpc/local-socket.js';
import { prepareDataFolder } from '../../../controller/adapters/system/data-folder.js';
import { nfsKindOf, readMount, superOptions, type Mount } from '../../../controller/adapters/system/mount.js';
import { MAX_SOCKET_PATH_BYTES } from '../../../shared/domain/socket-path.js';

const NFS = 0x6969;
const LOCAL: Mount = { type: 0xef53, options: 'rw' };
const isRoot = process.getuid?.() === 0;
const NEEDS_ROOT = { skip: isRoot ? false : 'needs root' } as const;
const NOBODY = 65_534;

/** @returns what was logged */
function prepare(path: string, mount: Mount = LOCAL): Record<string, unknown>[] {
  const lines: string[] = [];
  prepareDataFolder(path, pino({}, { write: (line) => void lines.push(line) }), () => mount);
  return lines.map((line) => JSON.parse(line) as Record<string, unknown>);
}

t.test('a data folder', (t) => {
  t.test('is made for its user alone', (t) => {
    const path = join(t.testdir(), 'a', 'data');
    t.strictSame(prepare(path), []);
    t.equal(statSync(path).mode & 0o777, 0o700);
    t.strictSame(prepare(path), [], 'again');
    t.end();
  });

  t.test('may be a link to a folder of a local disk', (t) => {
    const path = join(t.testdir({ disk: {} }), 'data');
    chmodSync(join(t.testdirName, 'disk'), 0o700);
    symlinkSync('disk', path);
    t.strictSame(prepare(path), []);
    t.end();
  });

  t.test('that others can write to is refused, with what to type', (t) => {
    const path = t.testdir();
    chmodSync(path, 0o770);
    const hint = `chmod 700 ${path}`;
    t.throws(() => prepare(path), { code: 'wrong_state', details: { path, hint } });
    t.equal(statSync(path).mode & 0o777, 0o770, 'and left as it is');
    t.end();
  });

  t.test('of another user, or behind a link of his, is refused', NEEDS_ROOT, (t) => {
    const root = t.testdir({ foreign: {}, own: {} });
    chownSync(join(root, 'foreign'), NOBODY, NOBODY);
    chmodSync(join(root, 'own'), 0o700);
    symlinkSync('own', join(root, 'link'));
    lchownSync(join(root, 'link'), NOBODY, NOBODY);
    for (const name of ['foreign', 'link']) {
      t.throws(() => prepare(join(root, name)), { code: 'wrong_state', details: { hint: /--data-dir/ } }, name);
    }
    t.end();
  });

  t.test('in the place of a file is unavailable', (t) => {
    const root = t.testdir({ file: '' });
    for (const path of [join(root, 'file'), join(root, 'file', 'data')]) {
      t.throws(() => prepare(path), { code: 'unavailable', details: { path, hint: /--data-dir/ } });
    }
    t.end();
  });

  t.test('on NFS works, and says what is better', (t) => {
    const path = t.testdir();
    chmodSync(path, 0o700);
    const log = prepare(path, { type: NFS, options: 'rw,vers=4.2,hard,proto=tcp,local_lock=none,addr=10.0.0.1' });
    t.match(log, [{ level: 40, msg: 'data folder is on nfs', dataDir: path, hint: /--data-dir on a local disk/ }]);
    t.end();
  });

  t.test('on NFS whose locks no other machine sees is refused', (t) => {
    const path = t.testdir();
    chmodSync(path, 0o700);
    const mount = { type: NFS, options: 'rw,vers=3,nolock,local_lock=all,addr=10.0.0.1' };
    t.throws(() => prepare(path, mount), {
      code: 'wrong_state',
      details: { path, hint: /--data-dir on a local disk/ },
    });
    t.end();
  });
  t.end();
});

t.test('mounts', (t) => {
  for (const [options, want] of [
    ['rw,local_lock=none', 'locked'],
    ['rw,local_lock=flock,addr=10.0.0.1', 'locked'],
    ['rw,local_lock=posix', 'unlocked'],
    ['nolock,rw', 'unlocked'],
    ['', 'locked'],
  ] as const) {
    t.equal(nfsKindOf({ type: NFS, options }), want, options);
  }
  t.equal(nfsKindOf({ type: 0xef53, options: 'nolock' }), 'none');

  const info = [
    '27 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro',
    '41 27 0:52 / /home rw,relatime shared:9 - nfs4 nfs:/home rw,vers=4.2,local_lock=none',
    '42 27 0:300 / /data rw,relatime - nfs nfs:/data\\040- rw,nolock',
    '',
  ].join('\n');
  t.equal(superOptions(info, 0x801), 'rw,errors=remount-ro');
  t.equal(superOptions(info, 52), 'rw,vers=4.2,local_lock=none');
  t.equal(superOptions(info, (300 & 0xff) | ((300 & ~0xff) << 12)), 'rw,nolock', 'a minor of more than 8 bits');
  t.equal(superOptions(info, 99), '');
  t.equal(superOptions('', 52), '');
  t.end();
});

t.test('what the system says of this machine is what stat(1) says', { skip: !existsSync('/dev/shm') }, (t) => {
  const tool = (...args: string[]): string => execFileSync('stat', args, { encoding: 'utf8' }).trim();
  for (const path of ['/dev/shm', t.testdir()]) {
    t.equal(readMount(path).type.toString(16), tool('-f', '-c', '%t', path));
  }
  t.match(readMount('/dev/shm').options, /^rw/);
  t.end();
});

t.test('a socket', async (t) => {
  const refused = async (t: Test, path: string, code: string, hint: RegExp): Promise<void> => {
    await t.rejects(prepareSocket(path), { code, details: { hint } });
  };

  /** A short path: those of `testdir` are longer than a socket's may be. */
  const newFolder = (t: Test): string => {
    const path = mkdtempSync(join(tmpdir(), 'place-'));
    t.teardown(() => rmSync(path, { recursive: true }));
    return path;
  };

  await t.test('has a folder of its own, and takes the place of a dead one', async (t) => {
    const path = join(newFolder(t), 'run', 'c.sock');
    await prepareSocket(path);
    t.equal(statSync(join(path, '..')).mode & 0o777, 0o700);
    // Ends without a word, as by SIGKILL: the file stays.
    const die = `require('node:net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 9))`;
    t.throws(() => execFileSync(process.execPath, ['-e', die], { env: {}, stdio: 'ignore' }));
    t.ok(lstatSync(path).isSocket());
    await prepareSocket(path);
    t.notOk(existsSync(path));
  });

  await t.test('that is served, or is no socket, is left alone', async (t) => {
    const root = newFolder(t);
    mkdirSync(join(root, 'run'), { mode: 0o700 });
    writeFileSync(join(root, 'run', 'file'), 'precious');
    const path = join(root, 'run', 'c.sock');
    const server = createServer().listen(path);
    t.teardown(() => server.close());
    await new Promise((resolve) => server.once('listening', resolve));
    await refused(t, path, 'unavailable', /--socket/);
    t.ok(lstatSync(path).isSocket());
    await refused(t, join(root, 'run', 'file'), 'wrong_state', /--socket/);
    t.equal(statSync(join(root, 'run', 'file')).size, 8);
  });

  await t.test('of more bytes than the kernel takes is invalid, and makes nothing', async (t) => {
    const root = newFolder(t);
    const fill = (bytes: number): string => `${root}/d/${'x'.repeat(bytes - root.length - 3)}`;
    await t.rejects(prepareSocket(fill(MAX_SOCKET_PATH_BYTES + 1)), {
      code: 'invalid',
      message: /108 bytes, more than 107/,
      details: { hint: /--socket \/tmp/ },
    });
    t.notOk(existsSync(join(root, 'd')));
    await prepareSocket(fill(MAX_SOCKET_PATH_BYTES));
    t.ok(existsSync(join(root, 'd')));
  });

  await t.test('in a folder that others can enter is refused', async (t) => {
    const root = newFolder(t);
    writeFileSync(join(root, 'file'), '');
    mkdirSync(join(root, 'open'), { mode: 0o755 });
    await refused(t, join(root, 'open', 'c.sock'), 'wrong_state', /chmod 700/);
    await refused(t, join(root, 'file', 'c.sock'), 'wrong_state', /--socket/);
    await t.rejects(prepareSocket(join(root, 'file', 'x', 'c.sock')), { code: 'unavailable' });
  });
});
