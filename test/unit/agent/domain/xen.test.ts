import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { stateOf, type DomainSigns } from '../../../../agent/domain/xen/domain-state.js';
import { parseXentopLine } from '../../../../agent/domain/xen/xentop.js';
import { createFailure } from '../../../../agent/domain/xen/xl-failure.js';
import { parseXlInfo } from '../../../../agent/domain/xen/xl-info.js';
import { parseXlList } from '../../../../agent/domain/xen/xl-list.js';

const FIXTURES = join(import.meta.dirname, '..', '..', '..', 'fixtures');
const recorded = (path: string): string => readFileSync(join(FIXTURES, path), 'utf8');

t.test('xentop', (t) => {
  t.test('reads what a real one printed, names cut or not', (t) => {
    const rows = recorded('xentop/4.17/batch.one-domu.txt').trimEnd().split('\n').map(parseXentopLine);
    const dom0 = { name: 'Domain-0', flags: 'r', cpuSeconds: 182, memoryMib: 1024 };
    const domU = { name: 'domU', flags: 'b', cpuSeconds: 13, memoryMib: 128 };
    t.same(rows, [
      'header',
      { ...dom0, cpuPercent: 0 },
      { ...domU, cpuPercent: 0 },
      'header',
      { ...dom0, cpuPercent: 11.7 },
      { ...domU, cpuPercent: 0.7 },
    ]);
    t.same(recorded('xentop/4.17/full-name.one-domu.txt').trimEnd().split('\n').map(parseXentopLine).length, 3);
    const looping = recorded('xentop/4.17/batch.crash-looping.txt').trimEnd().split('\n').map(parseXentopLine);
    t.match(looping[2], { name: 'domU', flags: 'p', cpuSeconds: 0 });
    t.end();
  });

  t.test('takes the columns from the right, and leaves alone what is no domain', (t) => {
    const line = recorded('xentop/4.17/full-name.one-domu.txt').split('\n')[2] ?? '';
    const renamed = (name: string): string => line.replace(/^ *domU/, name);
    const name = '  a name --b--- 13 0.0 with columns';
    t.match(parseXentopLine(renamed(name)), { name: name.trim(), flags: 'b', memoryMib: 128 });
    t.match(parseXentopLine(renamed('x'.repeat(60))), { name: 'x'.repeat(60) });
    t.match(parseXentopLine(line.replace(/132096 +6.3/, '  no limit        n/a')), { name: 'domU', cpuSeconds: 13 });
    const kinds = recorded('xentop/4.17/details.one-domu.txt').trimEnd().split('\n').map(parseXentopLine);
    t.equal(kinds.filter((kind) => kind === undefined).length, 5, 'of VCPUs, Net0 and VBDs');
    for (const garbage of ['', 'NAME', line.slice(0, 80), line.replace('13', '-1')]) {
      t.equal(parseXentopLine(garbage), undefined, garbage);
    }
    t.end();
  });
  t.end();
});

t.test('xl list', (t) => {
  t.test('reads what a real one printed, half-built domains too', (t) => {
    const [dom0, domU, ...rest] = parseXlList(recorded('xl/4.17/list-verbose.one-domu.txt'));
    t.match(dom0, { domid: 0, name: 'Domain-0', memoryMib: 1024, flags: 'r' });
    const uuid = 'a8fec733-21fc-43aa-a337-83b395b9fb53';
    t.same(domU, { domid: 1, name: 'domU', uuid, memoryMib: 128, vcpus: 1, flags: 'b' });
    t.same(rest, []);
    t.match(parseXlList(recorded('xl/4.17/list-verbose.crash-looping.txt'))[1], { domid: 3, flags: 'p' });
    t.end();
  });

  t.test('bears any name, and refuses what is no list: then nothing is known', (t) => {
    const text = recorded('xl/4.17/list-verbose.one-domu.txt');
    const long = 'a name of more than forty characters 1 2 3 -b----';
    t.equal(parseXlList(text.replace(/^domU {36}/m, long))[1]?.name, long);
    t.equal(parseXlList(text.replace(/^domU {2}/m, '(null)')).length, 1, 'one that is nearly gone');
    for (const garbage of [
      '',
      'domU 1 128',
      text.replace('-b----', '??????'),
      text.slice(0, -30),
      '[]\n',
      `x${text}`,
    ]) {
      t.throws(() => parseXlList(garbage), { code: 'unavailable' }, garbage.slice(0, 20));
    }
    t.end();
  });
  t.end();
});

t.test('xl info tells the memory of the machine, not of dom0', (t) => {
  const info = { xenVersion: '4.17.7', cpus: 1, memoryMib: 2047, memoryFreeMib: 872, hasShadowPaging: false };
  t.same(parseXlInfo(recorded('xl/4.17/info.txt')), info);
  const withShadow = recorded('xl/4.17/info.txt').replace(' hap ', ' hap shadow ');
  t.equal(parseXlInfo(withShadow).hasShadowPaging, true);
  t.equal(parseXlInfo(withShadow.replace(/^virt_caps.*$/m, '')).hasShadowPaging, true, 'an old Xen does not tell');
  for (const garbage of ['', 'free_memory : many\n', 'xc: error\n'])
    t.throws(() => parseXlInfo(garbage), { code: 'unavailable' });
  t.end();
});

t.test('why a create failed', (t) => {
  const cases = [
    { file: 'already-exists', code: 'already_exists' },
    { file: 'no-cfg', code: 'not_found' },
    { file: 'python-cfg', code: 'invalid' },
    { file: 'bad-disk', code: 'invalid' },
    { file: 'no-memory', code: 'wrong_state', hint: /memory/ },
    { file: 'kernel-too-large', code: 'wrong_state', hint: /memory/ },
    { file: 'script-timeout', code: 'wrong_state', hint: /busy/ },
    { file: 'no-disk', code: 'wrong_state', hint: /disk/ },
  ];
  for (const { file, code, hint } of cases) {
    const output = recorded(`xl/4.17/create.${file}.txt`);
    const failure = createFailure('domU', '/etc/xen/domU.cfg', output);
    t.equal(failure.code, code, file);
    t.equal(failure.details['output'], output);
    if (hint !== undefined) t.match(failure.details['hint'], hint);
  }
  t.equal(createFailure('a', '/a', 'Failed to connect to bus: No such file').code, 'unavailable');
  t.match(createFailure('a', '/a', ''), { code: 'wrong_state', details: { hint: /./ } });
  t.end();
});

t.test('the state of a domain', (t) => {
  const calm: DomainSigns = { flags: 'b', isWatched: true, isBuilt: true, isAskedToStop: false };
  const cases: readonly (readonly [string, Partial<DomainSigns>, string])[] = [
    ['idle', {}, 'running'],
    ['busy', { flags: 'r' }, 'running'],
    ['between two turns', { flags: '' }, 'running'],
    ['paused by hand', { flags: 'p' }, 'paused'],
    ['paused, since libxl still builds it', { flags: 'p', isBuilt: false }, 'starting'],
    ['asked to stop', { isAskedToStop: true }, 'stopping'],
    ['shut down, not cleaned up', { flags: 's' }, 'stopping'],
    ['dying', { flags: 'dp' }, 'stopping'],
    ['crashed, kept', { flags: 'sc' }, 'crashed'],
    ['not seen by xentop yet', { flags: undefined }, 'starting'],
    ['no xentop', { flags: undefined, isWatched: false }, 'running'],
    ['no xentop, half-built', { flags: undefined, isWatched: false, isBuilt: false }, 'starting'],
    ['no xentop, asked to stop', { flags: undefined, isWatched: false, isAskedToStop: true }, 'stopping'],
  ];
  for (const [name, signs, want] of cases) t.equal(stateOf({ ...calm, ...signs }), want, name);
  t.end();
});
