import { spawn } from 'node:child_process';
import { createHash, randomInt } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import t from 'tap';
import { createExec } from '../../shared/exec.js';
import { formatMac } from '../../shared/domain/mac.js';
import { makeConfigureRig, settingsOf } from '../harness/configure-rig.js';
import { DEBIAN, isClean, makeImage, readInImage } from '../harness/guest-image.js';

// The kill test of a VM's change: a process that writes cfg and guest is SIGKILLed at each of its steps, in its undoing too,
// and at random moments. Whoever comes next finds both old, to the last byte, or both new. DOMHERD_CONFIGURE_KILLS: how many
// random ones.

const RANDOM_KILLS = Number(process.env['DOMHERD_CONFIGURE_KILLS'] ?? 10);
const ROOT = t.testdir();
const IMAGE = join(ROOT, 'disk.img');
const CHILD = join(ROOT, 'configure-child.mjs');
const CFG = join(ROOT, 'xen', 'domU.cfg');
const EXEC = createExec(process.env);
const FORMER_CFG = `name = 'domU'\nroot = '/dev/xvda2 ro'\ndisk = [ 'file:${IMAGE},xvda2,w' ]\nvif = [ 'bridge=br0' ]\n`;
const FORMER_PATHS = ['/etc/network/interfaces', '/etc/hostname', '/etc/hosts', '/etc/resolv.conf'] as const;

interface Death {
  readonly signal: NodeJS.Signals | null;
  readonly said: string;
}

/** @param killAfterMs counted from "ready"; `undefined`: it is left alone, and dies at its step, if it has one */
function runChild(args: readonly string[], killAfterMs?: number): Promise<Death> {
  const child = spawn(process.execPath, [CHILD, ROOT, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (bytes: Buffer) => {
    said += bytes.toString();
    if (killAfterMs !== undefined && said === 'ready\n') setTimeout(() => child.kill('SIGKILL'), killAfterMs);
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (_code, signal) => resolve({ signal, said }));
  });
}

interface Look {
  readonly image: string;
  readonly cfg: string;
}

function look(): Look {
  return { image: createHash('sha256').update(readFileSync(IMAGE)).digest('hex'), cfg: readFileSync(CFG, 'utf8') };
}

/** Which of the addresses cfg and guest have: both the same one. */
function holds(n: number): boolean {
  const [vif] = settingsOf(n).vifs;
  const inCfg = vif !== undefined && look().cfg.includes(formatMac(vif.mac));
  const inGuest = readInImage(IMAGE, '/etc/network/interfaces').includes(`address 10.180.0.${n}\n`);
  return inCfg && inGuest && readInImage(IMAGE, '/etc/hostname') === `vm${n}\n`;
}

function openRecords(folder: string): readonly string[] {
  return readdirSync(join(ROOT, folder)).filter((name) => !name.startsWith('.'));
}

t.before(async () => {
  mkdirSync(join(ROOT, 'xen'));
  writeFileSync(CFG, FORMER_CFG);
  makeImage(IMAGE, DEBIAN, { size: '8M' });
  await build({
    entryPoints: [join('test', 'harness', 'configure-child.ts')],
    outfile: CHILD,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    target: 'node20',
  });
  t.match(await runChild(['1', '']), { signal: null, said: 'ready\ndone\n' });
  t.ok(holds(1));
});

/** From here on the change stands. */
const NEW_FROM = ['after intent remove', 'before change remove', 'after change remove'];
const STEPS = [
  ...['before intent write', 'after intent write', 'before change write', 'after change write'],
  ...['in piece 0', 'in piece 2', 'before cfg', 'after cfg', 'before intent remove'],
  ...NEW_FROM,
];

t.test('death at a step', async (t) => {
  let present = 1;
  for (const step of STEPS) {
    const old = look();
    const next = present === 1 ? 2 : 1;
    t.equal((await runChild([`${next}`, step])).signal, 'SIGKILL', step);
    const { configurer } = makeConfigureRig(ROOT, EXEC);
    await configurer.recover();
    await configurer.settle(CFG);
    if (NEW_FROM.includes(step)) present = next;
    else t.strictSame(look(), old, `${step}: both old`);
    t.ok(holds(present), `${step}: cfg and guest agree`);
    t.ok(isClean(IMAGE));
    t.strictSame([openRecords('intents'), openRecords('guest-changes')], [[], []]);
  }
});

t.test('death at a step of giving the former files back', async (t) => {
  const isFormer = (): boolean =>
    look().cfg === FORMER_CFG && FORMER_PATHS.every((path) => readInImage(IMAGE, path) === DEBIAN[path]);
  const steps = [
    ...['after intent write', 'after change write', 'in piece 2', 'after cfg'],
    ...['before original write', 'after original write', 'after intent remove', 'before change remove'],
  ];
  for (const step of steps) {
    if (!holds(1)) t.match(await runChild(['1', '']), { signal: null });
    const old = look();
    t.equal((await runChild(['restore', step])).signal, 'SIGKILL', step);
    await makeConfigureRig(ROOT, EXEC).configurer.recover();
    await makeConfigureRig(ROOT, EXEC).configurer.settle(CFG);
    if (NEW_FROM.includes(step)) t.ok(isFormer(), `${step}: both as before the first write`);
    else t.strictSame(look(), old, `${step}: both old`);
    t.ok(isClean(IMAGE));
    t.strictSame([openRecords('intents'), openRecords('guest-changes')], [[], []]);
    t.match(await runChild(['restore', '']), { signal: null, said: 'ready\ndone\n' }, 'the order comes again');
    t.ok(isFormer());
  }
  t.match(await runChild(['1', '']), { signal: null });
});

t.test('death in the undoing', async (t) => {
  const present = holds(1) ? 1 : 2;
  const old = look();
  const steps = [
    ...['before cfg', 'after cfg', 'in piece 0', 'in piece 2', 'before change remove', 'after change remove'],
    ...['before intent remove', 'after intent remove'],
  ];
  t.equal((await runChild([`${3 - present}`, 'before intent remove'])).signal, 'SIGKILL');
  t.not(look().image, old.image);
  const left = join(ROOT, 'left');
  const parts = ['disk.img', 'xen', 'intents', 'guest-changes', 'cfg-originals'];
  const copy = (from: string, to: string): void => {
    for (const part of parts) cpSync(join(from, part), join(to, part), { recursive: true });
  };
  mkdirSync(left);
  copy(ROOT, left);
  for (const step of steps) {
    copy(left, ROOT);
    t.equal((await runChild(['', step])).signal, 'SIGKILL', step);
    await makeConfigureRig(ROOT, EXEC).configurer.recover();
    t.strictSame(look(), old, `${step}: both old`);
    t.ok(isClean(IMAGE));
    t.strictSame([openRecords('intents'), openRecords('guest-changes')], [[], []]);
  }
});

t.test('death at any moment', async (t) => {
  let present = holds(1) ? 1 : 2;
  const startedMs = performance.now();
  t.match(await runChild([`${3 - present}`, '']), { signal: null });
  const usualMs = performance.now() - startedMs;
  present = 3 - present;
  for (let kill = 0; kill < RANDOM_KILLS; kill += 1) {
    const old = look();
    const next = 3 - present;
    const afterMs = randomInt(Math.max(2, Math.round(usualMs)));
    const { said } = await runChild([`${next}`, ''], afterMs);
    await makeConfigureRig(ROOT, EXEC).configurer.recover();
    const isNew = holds(next);
    if (isNew) present = next;
    else t.strictSame(look(), old, `after ${afterMs} ms: both old`);
    if (said.includes('done')) t.ok(isNew, 'what was answered stands');
    t.ok(holds(present));
    t.ok(isClean(IMAGE));
  }
});
