import fc from 'fast-check';
import t from 'tap';
import {
  countAddresses,
  formatRange,
  intersectRanges,
  normalizeRanges,
  rangesToCidrs,
  subtractRanges,
  type AddressRange,
} from '../../../../shared/domain/address-range.js';
import {
  cidrContains,
  cidrOf,
  cidrSize,
  firstAddress,
  formatCidr,
  lastAddress,
  netmaskToPrefix,
  parseCidr,
  prefixToNetmask,
} from '../../../../shared/domain/cidr.js';
import { formatIpv4, ipv4FromNumber, parseIpv4 } from '../../../../shared/domain/ipv4.js';
import {
  formatMac,
  isMulticastMac,
  isZeroMac,
  leasedMac,
  macFromNumber,
  parseMac,
  xenMacFromBits,
  XEN_OUI,
} from '../../../../shared/domain/mac.js';
import { AppError } from '../../../../shared/errors.js';

const address = fc.integer({ min: 0, max: 0xffff_ffff }).map(ipv4FromNumber);
/** Small numbers at both ends of the address space, so that ranges meet and overlap and the last address is tried. */
const nearby = fc
  .tuple(fc.boolean(), fc.integer({ min: 0, max: 60 }))
  .map(([high, n]) => ipv4FromNumber(high ? 0xffff_ffff - n : n));
const range: fc.Arbitrary<AddressRange> = fc.tuple(nearby, nearby).map(([a, b]) => {
  const first = a < b ? a : b;
  const last = a < b ? b : a;
  return last - first > 100 ? { first, last: first } : { first, last };
});
const ranges = fc.array(range, { maxLength: 8 });

function members(list: readonly AddressRange[]): number[] {
  const all = new Set<number>();
  for (const { first, last } of list) for (let n: number = first; n <= last; n++) all.add(n);
  return [...all].sort((a, b) => a - b);
}

function ip(text: string): ReturnType<typeof parseIpv4> {
  return parseIpv4(text);
}

function show(list: readonly AddressRange[]): string[] {
  return list.map(formatRange);
}

function span(text: string): AddressRange {
  const [first = '', last = first] = text.split('-');
  return { first: ip(first), last: ip(last) };
}

/** True when `run` returns, or throws an AppError `invalid`; anything else fails the property. */
function isTotal(run: () => unknown): boolean {
  try {
    run();
  } catch (error) {
    return error instanceof AppError && error.code === 'invalid';
  }
  return true;
}

void t.test('ipv4', (t) => {
  for (const [text, value] of [
    ['0.0.0.0', 0],
    ['10.132.8.1', 0x0a840801],
    ['128.0.0.0', 0x80000000],
    ['255.255.255.255', 0xffffffff],
  ] as const) {
    void t.test(text, (t) => {
      t.equal(parseIpv4(text), value);
      t.equal(formatIpv4(ipv4FromNumber(value)), text);
      t.end();
    });
  }
  for (const text of [
    '',
    '1.2.3',
    '1.2.3.4.5',
    '1.2.3.256',
    '1.2.3.',
    '1.2.3.4 ',
    '-1.2.3.4',
    '0x1.2.3.4',
    '1.2.3.1e1',
  ]) {
    t.throws(() => parseIpv4(text), { code: 'invalid' }, `refuses "${text}"`);
  }
  t.throws(
    () => parseIpv4('10.0.0.010'),
    { code: 'invalid', message: /octal/ },
    'a leading zero is refused, with the reason',
  );
  for (const value of [-1, 2 ** 32, 1.5, NaN, Infinity]) {
    t.throws(() => ipv4FromNumber(value), { code: 'invalid' }, `refuses ${value}`);
  }
  fc.assert(fc.property(address, (a) => parseIpv4(formatIpv4(a)) === a));
  fc.assert(fc.property(fc.string(), (text) => isTotal(() => parseIpv4(text))));
  t.end();
});

void t.test('cidr', (t) => {
  const site = parseCidr('10.180.0.0/14');
  t.equal(formatIpv4(firstAddress(site)), '10.180.0.0');
  t.equal(formatIpv4(lastAddress(site)), '10.183.255.255');
  t.equal(cidrSize(site), 262_144);
  t.ok(cidrContains(site, ip('10.183.255.254')));
  t.notOk(cidrContains(site, ip('10.184.0.0')));
  t.notOk(cidrContains(site, ip('10.179.255.255')));
  t.equal(formatCidr(cidrOf(ip('10.181.2.3'), 14)), '10.180.0.0/14');
  t.equal(cidrSize(parseCidr('0.0.0.0/0')), 2 ** 32);
  t.equal(formatIpv4(lastAddress(parseCidr('0.0.0.0/0'))), '255.255.255.255');
  for (const text of [
    '',
    '10.0.0.0',
    '10.0.0.0/',
    '10.0.0.0/33',
    '10.0.0.0/08',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '/8',
    '10.0/8',
  ]) {
    t.throws(() => parseCidr(text), { code: 'invalid' }, `refuses "${text}"`);
  }
  t.throws(
    () => parseCidr('10.180.1.7/22'),
    { code: 'invalid', details: { hint: /10\.180\.0\.0\/22/ } },
    'host bits are refused; the hint names the network',
  );
  for (const prefix of [-1, 33, 1.5, NaN]) {
    t.throws(() => cidrOf(ip('10.0.0.0'), prefix), { code: 'invalid' });
    t.throws(() => prefixToNetmask(prefix), { code: 'invalid' });
  }
  for (const mask of ['255.0.255.0', '0.0.0.255', '255.252.0.1', '127.0.0.0']) {
    t.throws(() => netmaskToPrefix(ip(mask)), { code: 'invalid' }, `${mask} is not contiguous`);
  }
  t.equal(formatIpv4(prefixToNetmask(14)), '255.252.0.0');
  for (let prefix = 0; prefix <= 32; prefix++) t.equal(netmaskToPrefix(prefixToNetmask(prefix)), prefix);
  fc.assert(
    fc.property(address, fc.integer({ min: 0, max: 32 }), (a, prefix) => {
      const cidr = cidrOf(a, prefix);
      const again = parseCidr(formatCidr(cidr));
      return cidrContains(cidr, a) && again.network === cidr.network && again.prefix === prefix;
    }),
  );
  fc.assert(fc.property(fc.string(), (text) => isTotal(() => parseCidr(text))));
  t.end();
});

void t.test('address-range', (t) => {
  t.same(show(normalizeRanges(['10.0.0.5-10.0.0.9', '10.0.0.1-10.0.0.4', '10.0.0.3', '10.0.0.11'].map(span))), [
    '10.0.0.1-10.0.0.9',
    '10.0.0.11',
  ]);
  t.same(show(subtractRanges([span('10.0.0.0-10.0.0.9')], [span('10.0.0.0'), span('10.0.0.4-10.0.0.5')])), [
    '10.0.0.1-10.0.0.3',
    '10.0.0.6-10.0.0.9',
  ]);
  t.same(rangesToCidrs([span('10.0.0.1-10.0.0.6')]).map(formatCidr), [
    '10.0.0.1/32',
    '10.0.0.2/31',
    '10.0.0.4/31',
    '10.0.0.6/32',
  ]);
  t.same(rangesToCidrs([span('0.0.0.0-255.255.255.255')]).map(formatCidr), ['0.0.0.0/0']);
  t.throws(
    () => normalizeRanges([span('10.0.0.2-10.0.0.1')]),
    { code: 'invalid' },
    'a range that ends before it starts',
  );

  void t.test('agree with sets of numbers', (t) => {
    fc.assert(
      fc.property(ranges, ranges, (a, b) => {
        const [inA, inB] = [members(a), members(b)];
        const want = (list: number[]): string => list.join();
        return (
          want(members(normalizeRanges(a))) === want(inA) &&
          countAddresses(a) === inA.length &&
          want(members(subtractRanges(a, b))) === want(inA.filter((n) => !inB.includes(n))) &&
          want(members(intersectRanges(a, b))) === want(inA.filter((n) => inB.includes(n)))
        );
      }),
      { numRuns: 300 },
    );
    t.end();
  });
  void t.test('come out sorted, apart and non-empty', (t) => {
    fc.assert(
      fc.property(ranges, ranges, (a, b) => {
        const lists = [normalizeRanges(a), subtractRanges(a, b), intersectRanges(a, b)];
        return lists.every((list) =>
          list.every((r, n) => r.first <= r.last && (n === 0 || r.first > (list[n - 1]?.last ?? Infinity) + 1)),
        );
      }),
    );
    t.end();
  });
  void t.test('are covered by the fewest networks', (t) => {
    fc.assert(
      fc.property(ranges, (list) => {
        const cidrs = rangesToCidrs(list);
        const covered = cidrs.map((cidr) => ({ first: firstAddress(cidr), last: lastAddress(cidr) }));
        // Minimal: no two siblings are left that could be one network.
        const isMinimal = cidrs.every((cidr, n) => {
          const next = cidrs[n + 1];
          if (next?.prefix !== cidr.prefix || cidr.prefix === 0) return true;
          return cidrOf(cidr.network, cidr.prefix - 1).network !== cidrOf(next.network, cidr.prefix - 1).network;
        });
        return (
          isMinimal &&
          members(covered).join() === members(list).join() &&
          countAddresses(covered) === sum(cidrs.map(cidrSize))
        );
      }),
      { numRuns: 300 },
    );
    t.end();
  });
  t.end();
});

function sum(numbers: number[]): number {
  return numbers.reduce((total, n) => total + n, 0);
}

void t.test('mac', (t) => {
  t.equal(formatMac(leasedMac(ip('10.132.8.1'))), '00:16:3e:84:08:01', 'as g5k-subnets -im prints for it');
  t.equal(formatMac(xenMacFromBits(0)), '00:16:3e:00:00:00');
  t.equal(Math.floor(xenMacFromBits(0xffffff) / 2 ** 24), XEN_OUI);
  t.equal(parseMac('00-16-3E-84-08-01'), parseMac('00:16:3e:84:08:01'));
  for (const text of [
    '',
    '00:16:3e:84:08',
    '00:16:3e:84:08:01:02',
    '00:16-3e:84:08:01',
    '0:16:3e:84:08:01',
    '00:16:3g:84:08:01',
    '00163e840801',
  ]) {
    t.throws(() => parseMac(text), { code: 'invalid' }, `refuses "${text}"`);
  }
  for (const value of [-1, 2 ** 48, 0.5, NaN]) t.throws(() => macFromNumber(value), { code: 'invalid' });
  for (const bits of [-1, 2 ** 24, 0.5]) t.throws(() => xenMacFromBits(bits), { code: 'invalid' });
  t.ok(isMulticastMac(parseMac('01:00:5e:00:00:01')));
  t.ok(isMulticastMac(parseMac('ff:ff:ff:ff:ff:ff')));
  t.notOk(isMulticastMac(parseMac('fe:ff:ff:ff:ff:ff')), 'the local bit alone is no multicast');
  t.notOk(isMulticastMac(parseMac('00:16:3e:ff:ff:ff')));
  t.ok(isZeroMac(parseMac('00:00:00:00:00:00')));
  t.notOk(isZeroMac(parseMac('00:00:00:00:00:01')));
  fc.assert(
    fc.property(
      fc.maxSafeNat().map((n) => macFromNumber(n % 2 ** 48)),
      (mac) => {
        const text = formatMac(mac);
        return parseMac(text) === mac && parseMac(text.toUpperCase().replaceAll(':', '-')) === mac;
      },
    ),
  );
  fc.assert(fc.property(address, address, (a, b) => (leasedMac(a) === leasedMac(b)) === (a % 2 ** 24 === b % 2 ** 24)));
  fc.assert(fc.property(fc.string(), (text) => isTotal(() => parseMac(text))));
  t.end();
});
