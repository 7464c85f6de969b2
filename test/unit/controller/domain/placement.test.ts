import fc from 'fast-check';
import t from 'tap';
import {
  apartLimit,
  capacityOf,
  memoryLimit,
  placeVms,
  PLACEMENTS,
  tightestLimit,
  totalCapacity,
  type HostLimit,
  type PlaceableHost,
} from '../../../../controller/domain/placement.js';
import {
  changeLabels,
  formatLabels,
  isLabelChange,
  parseLabelChanges,
  parseLabels,
} from '../../../../shared/domain/label.js';

const limit: fc.Arbitrary<HostLimit> = fc.record({
  kind: fc.constantFrom('memory' as const, 'disk' as const, 'label' as const),
  fits: fc.nat(12),
  detail: fc.constant('because'),
});
const someHosts: fc.Arbitrary<readonly PlaceableHost[]> = fc
  .array(
    fc.record({
      limits: fc.array(limit, { maxLength: 3 }),
      cpus: fc.nat(16),
      vcpusTaken: fc.nat(40),
      vcpus: fc.integer({ min: 1, max: 4 }),
    }),
    { minLength: 1, maxLength: 8 },
  )
  .map((hosts) => hosts.map((host, n) => ({ ...host, name: `h${String(n)}` })));

t.test('placement', (t) => {
  fc.assert(
    fc.property(someHosts, fc.nat(60), fc.constantFrom(...PLACEMENTS), (hosts, count, mode) => {
      const names = Array.from({ length: count }, (_, n) => `vm-${String(n)}`);
      const total = totalCapacity(hosts);
      if (count > total) {
        t.throws(() => placeVms(names, hosts, mode), { code: 'exhausted', details: { fits: String(total) } });
        return;
      }
      const placed = placeVms(names, hosts, mode);
      t.strictSame(
        placed.map(({ name }) => name),
        names,
      );
      t.strictSame(placeVms(names, hosts, mode), placed, 'the same again');
      const counts = hosts.map((host) => placed.filter(({ host: on }) => on === host.name).length);
      t.ok(
        hosts.every((host, n) => (counts[n] ?? 0) <= capacityOf(host)),
        'no host gets more than fits',
      );
      const isFull = hosts.map((host, n) => counts[n] === capacityOf(host));
      const share = (n: number, more = 0): number =>
        (((counts[n] ?? 0) + more) * hosts[n]!.vcpus) / Math.max(1, hosts[n]!.cpus);
      const open = hosts.flatMap((_, n) => (isFull[n] ? [] : [n]));
      if (mode === 'spread') {
        // Its last one went where the share was least: nobody who has room had less to carry then.
        t.ok(hosts.every((_, n) => counts[n] === 0 || open.every((other) => share(n, -1) <= share(other) + 1e-9)));
      } else {
        t.ok(open.filter((n) => (counts[n] ?? 0) > 0).length <= 1, 'packed: one host at most is half full');
      }
    }),
    { numRuns: 300 },
  );

  const host = (name: string, change: Partial<PlaceableHost> = {}): PlaceableHost => ({
    ...{ name, limits: [memoryLimit(4_096, 496)], cpus: 4, vcpusTaken: 0, vcpus: 1 },
    ...change,
  });
  const where = (hosts: readonly PlaceableHost[], count: number): string =>
    placeVms(Array.from({ length: count }, String), hosts, 'spread')
      .map((each) => each.host)
      .sort()
      .join(' ');
  for (const [what, hosts, count, want] of [
    ['alike: even', [host('a'), host('b')], 4, 'a a b b'],
    ['twice the cores: twice as many', [host('a', { cpus: 8 }), host('b')], 6, 'a a a a b b'],
    ['the one that has less to do comes first', [host('a', { vcpusTaken: 3 }), host('b')], 1, 'b'],
    ['apart', [host('a', { limits: [apartLimit('x', undefined)] }), host('b')], 5, 'a b b b b'],
  ] as const) {
    t.equal(where(hosts, count), want, what);
  }
  t.strictSame(memoryLimit(1_000, 484), { kind: 'memory', fits: 2, detail: '1000 MiB free, 500 each' });
  t.equal(memoryLimit(-5, 484).fits, 0, 'more is asked for than there is');
  t.match(tightestLimit(host('a', { limits: [memoryLimit(4_096, 16), apartLimit('role=db', 'db-1')] })), {
    kind: 'label',
    detail: 'one of role=db a host, and db-1 is there',
  });
  t.equal(capacityOf(host('a', { limits: [] })), 0, 'of which nothing is known');
  t.throws(() => placeVms(['x', 'y'], [host('a', { limits: [apartLimit('role=db', undefined)] })], 'pack'), {
    message: '2 VMs do not fit: the hosts have places apart for 1',
    details: { hosts: 'a 1 (one of role=db a host)', hint: /--count 1 or --count max would fit; or add hosts/ },
  });
  t.end();
});

t.test('labels', (t) => {
  t.strictSame(parseLabels(['role=db', 'rack=', 'a.b/c=1.0']), { role: 'db', rack: '', 'a.b/c': '1.0' });
  t.strictSame(parseLabelChanges(['role=db', 'rack-']), { role: 'db', rack: undefined });
  for (const bad of ['role', 'role-', '=x', 'a b=c', 'role=a,b', 'role=-', '-a=b', `${'k'.repeat(64)}=v`]) {
    t.throws(() => parseLabels([bad]), { code: 'invalid' }, bad);
  }
  t.throws(() => parseLabels(['role=a', 'role=b']), { code: 'invalid', message: /given twice/ });
  const before = { role: 'db', rack: 'a' };
  t.strictSame(changeLabels(before, parseLabelChanges(['rack-', 'x=y'])), { role: 'db', x: 'y' });
  t.equal(formatLabels({ b: '2', a: '1' }), 'a=1,b=2');
  for (const [text, want] of [
    ['role=db', true],
    ['rack-', true],
    ['web-1', false],
    ['web@dom0-1', false],
    ['web-[1-2]', false],
  ] as const) {
    t.equal(isLabelChange(text), want, text);
  }
  t.end();
});
