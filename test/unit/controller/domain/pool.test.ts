import assert from 'node:assert/strict';
import fc from 'fast-check';
import t from 'tap';
import { AddressBitmap } from '../../../../controller/domain/address-bitmap.js';
import { chooseMac } from '../../../../controller/domain/mac-choice.js';
import {
  addressAt,
  buildPool,
  describeBlocks,
  positionOf,
  usableFromAddresses,
  usableOf,
  usableRanges,
  whyNotInPool,
} from '../../../../controller/domain/pool.js';
import {
  countAddresses,
  formatRange,
  intersectRanges,
  subtractRanges,
  type AddressRange,
} from '../../../../shared/domain/address-range.js';
import { cidrOf, formatCidr, parseCidr, type Cidr } from '../../../../shared/domain/cidr.js';
import { ipv4FromNumber, parseIpv4, type Ipv4 } from '../../../../shared/domain/ipv4.js';
import { formatMac, leasedMac, parseMac, type Mac } from '../../../../shared/domain/mac.js';

const BASE = parseIpv4('10.132.0.0');

function usable(...cidrs: string[]): AddressRange[] {
  return usableRanges(cidrs.map(parseCidr));
}

function span(text: string): AddressRange {
  const [first = '', last = first] = text.split('-');
  return { first: parseIpv4(first), last: parseIpv4(last) };
}

function addressesOf(ranges: readonly AddressRange[]): Ipv4[] {
  return ranges.flatMap(({ first, last }) =>
    Array.from({ length: last - first + 1 }, (_, n) => ipv4FromNumber(first + n)),
  );
}

/** Networks of 1 to 4096 addresses that meet, overlap and repeat. */
const cidr = fc
  .tuple(fc.integer({ min: 0, max: 4095 }), fc.integer({ min: 20, max: 32 }))
  .map(([offset, prefix]) => cidrOf(ipv4FromNumber(BASE + offset), prefix));
const range: fc.Arbitrary<AddressRange> = fc
  .tuple(fc.integer({ min: 0, max: 4200 }), fc.integer({ min: 0, max: 300 }))
  .map(([offset, more]) => ({ first: ipv4FromNumber(BASE + offset), last: ipv4FromNumber(BASE + offset + more) }));

void t.test('usable ranges', (t) => {
  for (const c of [
    { name: 'a /22 loses two addresses', cidrs: ['10.132.8.0/22'], want: ['10.132.8.1-10.132.11.254'] },
    {
      name: 'a /21 is two /22s',
      cidrs: ['10.8.0.0/21'],
      want: ['10.8.0.1-10.8.3.254', '10.8.4.1-10.8.7.254'],
    },
    { name: 'two /23s that make a /22 are one', cidrs: ['10.0.2.0/23', '10.0.0.0/23'], want: ['10.0.0.1-10.0.3.254'] },
    {
      name: 'two /23s across a /22 border stay two',
      cidrs: ['10.0.2.0/23', '10.0.4.0/23'],
      want: ['10.0.2.1-10.0.3.254', '10.0.4.1-10.0.5.254'],
    },
    { name: 'a /29', cidrs: ['192.168.7.8/29'], want: ['192.168.7.9-192.168.7.14'] },
    { name: 'a /31 is used whole', cidrs: ['10.0.0.4/31'], want: ['10.0.0.4-10.0.0.5'] },
    { name: 'a /32 is used whole', cidrs: ['10.0.0.4/32'], want: ['10.0.0.4'] },
    {
      name: 'a network inside another adds nothing',
      cidrs: ['10.0.0.0/22', '10.0.1.0/24'],
      want: ['10.0.0.1-10.0.3.254'],
    },
    { name: 'the last addresses there are', cidrs: ['255.255.255.248/29'], want: ['255.255.255.249-255.255.255.254'] },
    { name: 'nothing', cidrs: [], want: [] },
  ]) {
    t.same(usable(...c.cidrs).map(formatRange), c.want, c.name);
  }
  t.throws(() => usable('10.0.0.0/8', '11.0.0.0/32'), { code: 'invalid' }, 'more than a /8 is refused');
  t.equal(countAddresses(usable('10.132.0.0/14')), 256 * 1022);
  t.same(
    usableFromAddresses(addressesOf([span('10.132.8.0-10.132.12.3')])).map(formatRange),
    ['10.132.8.1-10.132.11.254', '10.132.12.1-10.132.12.3'],
    'of single addresses the first and last of a /22 are left out',
  );
  t.same(usableFromAddresses([]), []);
  t.end();
});

void t.test('one job in any form gives the same ranges', (t) => {
  /** Jobs of a few whole /22s, as the testbed gives them. */
  const job = fc.uniqueArray(fc.integer({ min: 0, max: 63 }), { minLength: 1, maxLength: 12 });
  fc.assert(
    fc.property(job, fc.infiniteStream(fc.nat()), (blocks, random) => {
      const each = blocks.map((n): Cidr => ({ network: ipv4FromNumber(BASE + n * 1024), prefix: 22 }));
      const canonical = usableRanges(each);
      const merged = describeBlocks(canonical).map(parseCidr);
      const listed = addressesOf(canonical);
      const shuffled = [...listed, ...listed.slice(0, 5)].sort(() => (Number(random.next().value) % 3) - 1);
      assert.deepEqual(usableRanges(merged), canonical, 'merged (-sp)');
      assert.deepEqual(usableFromAddresses(shuffled), canonical, 'single addresses (-i)');
      assert.deepEqual(usableOf({ cidrs: merged, addresses: listed }), canonical, 'both at once');
    }),
    { numRuns: 20 },
  );
  const all = Array.from({ length: 64 }, (_, n): Cidr => cidrOf(ipv4FromNumber(BASE + n * 1024), 22));
  t.same(usableRanges(all), usable('10.132.0.0/16'), '64 /22s and one /16');
  // What a list of the usable addresses of merged networks (-si) holds: the inner edges too.
  t.same(usableFromAddresses(addressesOf([span('10.132.0.1-10.132.255.254')])), usable('10.132.0.0/16'), 'one run');
  t.end();
});

void t.test('blocks for people', (t) => {
  for (const c of [
    { ranges: usable('10.132.0.0/14'), want: ['10.132.0.0/14'] },
    { ranges: usable('10.132.4.0/22', '10.132.8.0/22'), want: ['10.132.4.0/22', '10.132.8.0/22'] },
    { ranges: usable('10.132.0.0/22', '10.132.4.0/23'), want: ['10.132.0.0/22', '10.132.4.0/23'] },
    { ranges: [span('10.0.0.1-10.0.0.6'), span('10.0.0.9-10.0.0.14')], want: ['10.0.0.0/29', '10.0.0.8/29'] },
    { ranges: [span('10.0.0.5-10.0.0.99')], want: ['10.0.0.5-10.0.0.99'] },
    { ranges: [span('10.0.0.5'), span('10.0.0.8-10.0.0.9')], want: ['10.0.0.5', '10.0.0.8-10.0.0.9'] },
    { ranges: [span('10.0.4.1-10.0.7.254'), span('10.0.0.5')], want: ['10.0.0.5', '10.0.4.0/22'] },
    { ranges: [span('0.0.0.0-0.0.0.1')], want: ['0.0.0.0-0.0.0.1'] },
    { ranges: [], want: [] },
  ]) {
    t.same(describeBlocks(c.ranges), c.want, c.want.join(' '));
  }
  fc.assert(
    fc.property(
      fc.array(
        cidr.filter(({ prefix }) => prefix <= 30),
        { maxLength: 6 },
      ),
      (cidrs) => {
        const ranges = usableRanges(cidrs);
        assert.deepEqual(usableRanges(describeBlocks(ranges).map(parseCidr)), ranges, cidrs.map(formatCidr).join(' '));
      },
    ),
  );
  t.end();
});

void t.test('pool', (t) => {
  const pool = buildPool(usable('10.132.8.0/22', '10.132.16.0/22'), [
    span('10.132.8.5-10.132.8.9'),
    span('10.132.8.7'),
  ]);
  t.equal(pool.size, 2 * 1022 - 5);
  for (const [position, address] of [
    [0, '10.132.8.1'],
    [3, '10.132.8.4'],
    [4, '10.132.8.10'],
    [1016, '10.132.11.254'],
    [1017, '10.132.16.1'],
    [pool.size - 1, '10.132.19.254'],
  ] as const) {
    assert.equal(addressAt(pool, position), parseIpv4(address));
    assert.equal(positionOf(pool, parseIpv4(address)), position);
  }
  for (const position of [-1, pool.size, 0.5, NaN]) t.throws(() => addressAt(pool, position), { code: 'invalid' });
  t.throws(() => addressAt(buildPool([], []), 0), { code: 'invalid' });
  for (const [address, why] of [
    ['10.132.8.1', undefined],
    ['10.132.8.0', 'edge'],
    ['10.132.11.255', 'edge'],
    ['10.132.19.255', 'edge'],
    ['10.132.8.5', 'excluded'],
    ['10.132.8.9', 'excluded'],
    ['10.132.12.0', 'outside'],
    ['10.132.7.255', 'outside'],
    ['0.0.0.0', 'outside'],
    ['255.255.255.255', 'outside'],
  ] as const) {
    t.equal(whyNotInPool(pool, parseIpv4(address)), why, `${address} ${why}`);
    t.equal(positionOf(pool, parseIpv4(address)) === undefined, why !== undefined);
  }
  const small = buildPool([span('10.0.0.9-10.0.0.14'), span('10.0.0.33-10.0.0.40'), span('10.0.4.1-10.0.4.9')], []);
  t.equal(whyNotInPool(small, parseIpv4('10.0.0.8')), 'edge', 'of a /29');
  t.equal(whyNotInPool(small, parseIpv4('10.0.0.15')), 'edge');
  t.equal(whyNotInPool(small, parseIpv4('10.0.0.41')), 'outside', 'next to a run that is no block');
  t.equal(whyNotInPool(small, parseIpv4('10.0.4.0')), 'edge', 'of a /22 of which a part is listed');
  t.equal(whyNotInPool(small, parseIpv4('10.0.3.255')), 'outside');

  fc.assert(
    fc.property(fc.array(cidr, { maxLength: 5 }), fc.array(range, { maxLength: 4 }), (cidrs, exclusions) => {
      const ranges = usableRanges(cidrs);
      const built = buildPool(ranges, exclusions);
      const seen = new Set<number>();
      for (let position = 0; position < built.size; position++) {
        const address = addressAt(built, position);
        seen.add(address);
        if (positionOf(built, address) !== position || whyNotInPool(built, address) !== undefined) return false;
      }
      const excluded = intersectRanges(ranges, exclusions);
      const isRefused = addressesOf(excluded).every((address) => whyNotInPool(built, address) === 'excluded');
      const isInside = countAddresses(subtractRanges(built.leasable, ranges)) === 0;
      return (
        isRefused &&
        isInside &&
        seen.size === built.size &&
        built.size + countAddresses(excluded) === countAddresses(ranges)
      );
    }),
    { numRuns: 60 },
  );
  t.end();
});

type Step =
  | { readonly kind: 'use' | 'free' | 'find'; readonly at: number }
  | { readonly kind: 'fill' | 'clear'; readonly at: number; readonly count: number };

/** The model: next-fit over a set, position by position. */
function naiveFree(used: ReadonlySet<number>, size: number, after: number | undefined): number[] {
  const start = after === undefined ? 0 : after + 1;
  return Array.from({ length: size }, (_, n) => (start + n) % size).filter((position) => !used.has(position));
}

void t.test('bitmap', (t) => {
  t.equal(new AddressBitmap(0).findFree(undefined), undefined, 'an empty one is full');
  t.same(new AddressBitmap(0).nextFree(3, undefined), []);
  const bitmap = new AddressBitmap(3);
  t.ok(bitmap.use(1));
  t.notOk(bitmap.use(1), 'twice is once');
  t.equal(bitmap.usedCount, 1);
  t.equal(bitmap.findFree(0), 2);
  t.equal(bitmap.findFree(2), 0, 'wraps');
  t.equal(bitmap.findFree(undefined), 0);
  t.same(bitmap.nextFree(9, 0), [2, 0], 'each once');
  t.same(bitmap.nextFree(0, 0), []);
  bitmap.use(0);
  t.equal(bitmap.findFree(2), 2, 'the last one given is free again and the only one');
  bitmap.use(2);
  t.equal(bitmap.findFree(0), undefined);
  t.ok(bitmap.free(0));
  t.notOk(bitmap.free(0));
  for (const position of [-1, 3, 0.5, NaN]) {
    t.throws(() => bitmap.use(position), { code: 'internal' });
    t.throws(() => bitmap.free(position), { code: 'internal' });
    t.throws(() => bitmap.isUsed(position), { code: 'internal' });
    t.throws(() => bitmap.findFree(position), { code: 'internal' });
  }
  for (const size of [-1, 0.5, NaN, 2 ** 31 + 1]) t.throws(() => new AddressBitmap(size), { code: 'internal' });

  const at = fc.nat();
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({ kind: fc.constantFrom('use', 'free', 'find'), at }),
    fc.record({ kind: fc.constantFrom('fill', 'clear'), at, count: fc.integer({ min: 1, max: 1500 }) }),
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2300 }), fc.array(step, { maxLength: 25 }), (size, steps) => {
      const real = new AddressBitmap(size);
      const model = new Set<number>();
      for (const next of steps) runStep(real, model, next);
      const after = steps[0] === undefined ? undefined : steps[0].at % size;
      const want = naiveFree(model, size, after);
      assert.deepEqual([...real.freeIterator(after)], want);
      assert.deepEqual(real.nextFree(7, after), want.slice(0, 7));
      return real.usedCount === model.size && real.freeCount + real.usedCount === size;
    }),
    { numRuns: 150 },
  );
  function runStep(real: AddressBitmap, model: Set<number>, next: Step): void {
    const from = next.at % real.size;
    const count = 'count' in next ? next.count : 1;
    for (let position = from; position < Math.min(real.size, from + count); position++) {
      if (next.kind === 'use' || next.kind === 'fill') {
        assert.equal(real.use(position), !model.has(position));
        model.add(position);
      } else if (next.kind !== 'find') {
        assert.equal(real.free(position), model.delete(position));
      }
      assert.equal(real.isUsed(position), model.has(position));
    }
    assert.equal(real.findFree(from), naiveFree(model, real.size, from)[0]);
  }
  t.end();
});

void t.test('a pool of 262144 gives every address once', (t) => {
  const pool = buildPool([span('10.132.0.0-10.135.255.255')], [span('10.135.255.254')]);
  const bitmap = new AddressBitmap(pool.size);
  let last: number | undefined;
  let sum = 0;
  for (let n = 0; n < pool.size; n++) {
    const position = bitmap.findFree(last);
    if (position === undefined || !bitmap.use(position)) return t.fail(`no free position after ${n}`);
    sum += position;
    last = position;
  }
  t.equal(sum, (pool.size * (pool.size - 1)) / 2);
  t.equal(bitmap.findFree(last), undefined);
  bitmap.free(200_000);
  t.equal(bitmap.findFree(last), 200_000);
  t.equal(bitmap.findFree(200_001), 200_000);
  t.end();
});

void t.test('MAC choice', (t) => {
  const address = parseIpv4('10.132.8.1');
  const kept = parseMac('00:16:3e:aa:bb:cc');
  const other = parseMac('00:16:3e:00:00:07');
  const no = (): boolean => false;
  const draw =
    (...bits: number[]) =>
    (): number =>
      bits.shift() ?? 0;
  const isOneOf =
    (...macs: Mac[]) =>
    (mac: Mac): boolean =>
      macs.includes(mac);
  const base = { isTaken: no, isPoolDerivable: no, randomBits: () => 7 };
  for (const c of [
    {
      name: 'leased before kept',
      ask: { ...base, address, kept },
      want: { mac: leasedMac(address), reason: 'leased' },
    },
    { name: 'kept', ask: { ...base, kept }, want: { mac: kept, reason: 'kept' } },
    { name: 'random', ask: base, want: { mac: other, reason: 'random' } },
    {
      name: 'a leased one that is taken falls to random, not to kept, and is named',
      ask: { ...base, address, kept, isTaken: isOneOf(leasedMac(address)) },
      want: { mac: other, reason: 'random', clash: leasedMac(address) },
    },
    {
      name: 'a kept one that is taken too',
      ask: { ...base, kept, isTaken: isOneOf(kept) },
      want: { mac: other, reason: 'random', clash: kept },
    },
    {
      name: 'a multicast one is not kept',
      ask: { ...base, kept: parseMac('01:16:3e:00:00:01') },
      want: { mac: other, reason: 'random' },
    },
    {
      name: 'nor is zero',
      ask: { ...base, kept: parseMac('00:00:00:00:00:00') },
      want: { mac: other, reason: 'random' },
    },
    {
      name: 'random skips the taken and the derivable',
      ask: {
        ...base,
        isTaken: isOneOf(parseMac('00:16:3e:00:00:01')),
        isPoolDerivable: isOneOf(parseMac('00:16:3e:00:00:02')),
        randomBits: draw(1, 2, 7),
      },
      want: { mac: other, reason: 'random' },
    },
    {
      name: 'a leased one may be derivable, since it is derived',
      ask: { ...base, address, isPoolDerivable: () => true },
      want: { mac: leasedMac(address), reason: 'leased' },
    },
  ] as const) {
    t.strictSame(chooseMac(c.ask), { kind: 'chosen', ...c.want }, c.name);
  }
  let draws = 0;
  const count = (): number => draws++;
  t.same(chooseMac({ ...base, isTaken: () => true, randomBits: count }), { kind: 'exhausted', tries: 64 });
  t.equal(draws, 64, 'no more draws than said');
  t.same(chooseMac({ ...base, isTaken: () => true, maxTries: 3 }), { kind: 'exhausted', tries: 3 });
  t.throws(() => chooseMac({ ...base, randomBits: () => 2 ** 24 }), { code: 'invalid' });

  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 30 }),
      fc.infiniteStream(fc.integer({ min: 0, max: 40 })),
      (taken, bits) => {
        const macs = new Set(taken.map((n) => `00:16:3e:00:00:${n.toString(16).padStart(2, '0')}`));
        const isTaken = (mac: Mac): boolean => macs.has(formatMac(mac));
        const choice = chooseMac({ isTaken, isPoolDerivable: no, randomBits: () => Number(bits.next().value) });
        return choice.kind === 'exhausted' ? macs.size > 0 : !isTaken(choice.mac);
      },
    ),
  );
  t.end();
});
