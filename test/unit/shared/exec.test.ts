import { existsSync, readFileSync } from 'node:fs';
import t from 'tap';
import { createExec, outputOf } from '../../../shared/exec.js';

const exec = createExec(process.env);
const LIMIT = { timeoutMs: 10_000 };
const node = (code: string): [string, ...string[]] => [process.execPath, '-e', code];

/** One that ended may wait as a zombie for its parent. */
function isAlive(pid: string): boolean {
  const path = `/proc/${pid}/stat`;
  return existsSync(path) && !/\) Z /.test(readFileSync(path, 'utf8'));
}

t.test('a command is run', async (t) => {
  await t.test('with its input, and both outputs apart', async (t) => {
    const result = await exec.run(['sh', '-c', 'cat; echo no >&2; echo $LC_ALL $X'], {
      ...LIMIT,
      input: 'yes\n',
      env: { X: 'x', LC_ALL: 'de' },
    });
    t.match(result, { kind: 'ok', stderr: 'no\n', stdout: Buffer.from('yes\nC x\n') });
  });

  await t.test('and its bytes are kept as they are', async (t) => {
    const { stdout } = await exec.run(['printf', '\\377\\000'], LIMIT);
    t.equal(stdout.toString('hex'), 'ff00');
  });

  await t.test('no shell reads its arguments', async (t) => {
    const { stdout } = await exec.run(['echo', '$(id) ; `id`'], LIMIT);
    t.equal(stdout.toString(), '$(id) ; `id`\n');
  });

  await t.test('one that fails is an answer', async (t) => {
    const failed = await exec.run(['sh', '-c', 'echo said; exit 7'], LIMIT);
    t.match(failed, { kind: 'failed', exitCode: 7, endSignal: undefined });
    t.equal(outputOf(failed), 'said', 'its output, where it has no words on stderr');
    t.match(await exec.run(['sh', '-c', 'kill -9 $$'], LIMIT), { kind: 'failed', endSignal: 'SIGKILL' });
    t.match(await exec.run(['/no/such'], LIMIT), { kind: 'missing', stderr: /ENOENT/ });
  });

  await t.test('one that does not read its input does no harm', async (t) => {
    t.match(await exec.run(['true'], { ...LIMIT, input: 'x'.repeat(1_000_000) }), { kind: 'ok' });
  });

  await t.test('input comes in pieces, asked for as they are read; a source that fails ends it', async (t) => {
    async function* pieces(n: number): AsyncGenerator<Uint8Array, void> {
      for (; n > 0; n -= 1) yield await Promise.resolve(Buffer.alloc(100_000, 'x'));
    }
    const whole = await exec.run(['wc', '-c'], { ...LIMIT, input: pieces(20) });
    t.equal(whole.stdout.toString().trim(), '2000000');
    let asked = 0;
    async function* endless(): AsyncGenerator<Uint8Array, void> {
      for (; ; asked += 1) yield* pieces(1);
    }
    t.match(await exec.run(['head', '-c', '10'], { ...LIMIT, input: endless() }), {
      kind: 'ok',
      stdout: Buffer.from('xxxxxxxxxx'),
    });
    t.ok(asked < 50, 'a reader that leaves stops the source');
    async function* broken(): AsyncGenerator<Uint8Array, void> {
      yield* pieces(1);
      throw new Error('no more');
    }
    t.match(await exec.run(['cat'], { ...LIMIT, input: broken() }), { kind: 'aborted' });
  });

  await t.test('the limit ends it, and what it started', async (t) => {
    const pids: string[] = [];
    const result = await exec.run(['sh', '-c', 'sleep 1000 & echo $!; wait'], {
      timeoutMs: 300,
      onOutput: (stream, text) => void (stream === 'stdout' && pids.push(text.trim())),
    });
    t.equal(result.kind, 'timeout');
    t.equal(pids.length, 1);
    t.notOk(isAlive(pids[0] ?? ''));
  });

  await t.test('an abort ends it; one that came before lets nothing start', async (t) => {
    const abort = new AbortController();
    const running = exec.run(node('console.log(1); setInterval(() => 0, 1000)'), {
      ...LIMIT,
      signal: abort.signal,
      onOutput: () => abort.abort(),
    });
    t.equal((await running).kind, 'aborted');
    t.equal((await exec.run(['/no/such'], { ...LIMIT, signal: abort.signal })).kind, 'aborted');
  });

  await t.test('a process that it leaves behind does not hold it', async (t) => {
    const startedMs = Date.now();
    const { kind, stdout } = await exec.run(['sh', '-c', 'sleep 5 & echo $!'], LIMIT);
    t.equal(kind, 'ok');
    t.ok(Date.now() - startedMs < 4000);
    process.kill(Number(stdout.toString()));
  });
});
