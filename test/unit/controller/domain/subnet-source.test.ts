import fc from 'fast-check';
import t from 'tap';
import { parseG5kJob } from '../../../../controller/domain/g5k-api.js';
import { usableOf } from '../../../../controller/domain/pool.js';
import type { SubnetSource } from '../../../../controller/domain/subnet-source.js';
import { parseSubnetText } from '../../../../controller/domain/subnet-text.js';
import { formatRange } from '../../../../shared/domain/address-range.js';
import { formatCidr } from '../../../../shared/domain/cidr.js';
import { formatIpv4, ipv4FromNumber, parseIpv4, type Ipv4 } from '../../../../shared/domain/ipv4.js';
import { formatMac, leasedMac } from '../../../../shared/domain/mac.js';
import { AppError } from '../../../../shared/errors.js';

const FULL =
  '10.180.0.0/22\t10.183.255.255\t255.252.0.0\t10.183.255.254\t10.180.0.0\tdns.grenoble.grid5000.fr\t172.16.16.247';
const SITE = { prefix: 14, broadcast: '10.183.255.255', gateway: '10.183.255.254' };

function show(source: SubnetSource): Record<string, unknown> {
  const { settings } = source;
  return {
    cidrs: source.cidrs.map(formatCidr),
    addresses: source.addresses.map(formatIpv4),
    prefix: settings.prefix,
    broadcast: settings.broadcast === undefined ? undefined : formatIpv4(settings.broadcast),
    gateway: settings.gateway === undefined ? undefined : formatIpv4(settings.gateway),
    dns: settings.dns.map(formatIpv4),
    domain: settings.domain,
    warnings: source.warnings.length,
  };
}

/** The usable addresses of 10.180.0.0/22 with the columns that `columns` gives. */
function listed(columns: (address: Ipv4) => string): string {
  const first = parseIpv4('10.180.0.1');
  return Array.from({ length: 1022 }, (_, n) => columns(ipv4FromNumber(first + n))).join('\n') + '\n';
}

void t.test('what g5k-subnets prints', (t) => {
  for (const c of [
    {
      name: '-a, seven columns',
      text: `${FULL}\n`,
      want: { cidrs: ['10.180.0.0/22'], ...SITE, dns: ['172.16.16.247'], domain: 'grenoble.grid5000.fr', warnings: 0 },
    },
    {
      name: '-a of two subnets under a pty: CRLF, spaces, a blank line',
      text: `\r\n${FULL.replaceAll('\t', '   ')}\r\n${FULL.replace('0.0/22', '8.0/22')}\r\n\r\n`,
      want: {
        cidrs: ['10.180.0.0/22', '10.180.8.0/22'],
        ...SITE,
        dns: ['172.16.16.247'],
        domain: 'grenoble.grid5000.fr',
        warnings: 0,
      },
    },
    {
      name: '-a without a DNS name',
      text: FULL.replace('\tdns.grenoble.grid5000.fr', ''),
      want: { cidrs: ['10.180.0.0/22'], ...SITE, dns: ['172.16.16.247'], warnings: 0 },
    },
    {
      name: "-a of 2011: three columns, the subnets' own masks",
      text: '10.8.0.0/21\t10.8.7.255\t255.255.248.0\n10.8.8.0/21\t10.8.15.255\t255.255.248.0\n',
      want: {
        cidrs: ['10.8.0.0/21', '10.8.8.0/21'],
        prefix: 14,
        broadcast: '10.11.255.255',
        gateway: '10.11.255.254',
        warnings: 2,
      },
    },
    {
      name: 'an own mask with the gateway outside of it',
      text: '10.180.0.0/22 10.180.3.255 255.255.252.0 10.183.255.254',
      want: { cidrs: ['10.180.0.0/22'], ...SITE, warnings: 2 },
    },
    {
      name: 'an own mask, the site broadcast',
      text: '10.180.0.0/22 10.183.255.255 255.255.252.0 10.183.255.254',
      want: { cidrs: ['10.180.0.0/22'], ...SITE, warnings: 2 },
    },
    {
      name: '-p',
      text: '10.180.0.0/22\n10.180.8.0/22\n',
      want: { cidrs: ['10.180.0.0/22', '10.180.8.0/22'], ...SITE, warnings: 1 },
    },
    { name: '-sp', text: '10.180.4.0/22\n', want: { cidrs: ['10.180.4.0/22'], ...SITE, warnings: 1 } },
    {
      name: '-i',
      text: '10.180.0.1\n10.180.0.2\n',
      want: { addresses: ['10.180.0.1', '10.180.0.2'], ...SITE, warnings: 1 },
    },
    {
      name: '-im',
      text: '10.180.0.1\t00:16:3E:B4:00:01\n10.180.0.2\t00:16:3E:B4:00:02\n',
      want: { addresses: ['10.180.0.1', '10.180.0.2'], ...SITE, warnings: 1 },
    },
    {
      name: '-ingbm',
      text: '10.180.0.1\t10.183.255.255\t255.252.0.0\t10.183.255.254\t00:16:3E:B4:00:01\n',
      want: { addresses: ['10.180.0.1'], ...SITE, warnings: 0 },
    },
    { name: '-pg', text: '10.180.0.0/22\t10.183.255.254', want: { cidrs: ['10.180.0.0/22'], ...SITE, warnings: 1 } },
    { name: '-pb', text: '10.180.0.0/22\t10.183.255.255', want: { cidrs: ['10.180.0.0/22'], ...SITE, warnings: 1 } },
    { name: '-pn', text: '10.180.0.0/22\t255.252.0.0', want: { cidrs: ['10.180.0.0/22'], ...SITE, warnings: 1 } },
    { name: '-pG', text: '10.180.0.0/22\t10.180.0.0', want: { cidrs: ['10.180.0.0/22'], ...SITE, warnings: 1 } },
    {
      name: '-pd',
      text: '10.180.0.0/22 dns.grenoble.grid5000.fr 172.16.16.247',
      want: { cidrs: ['10.180.0.0/22'], ...SITE, dns: ['172.16.16.247'], domain: 'grenoble.grid5000.fr', warnings: 1 },
    },
    {
      name: 'a list with comments, and no site known',
      text: '# lab\n192.168.0.0/24 # left\n\n  192.168.2.0/24\n',
      want: { cidrs: ['192.168.0.0/24', '192.168.2.0/24'], warnings: 0 },
    },
    {
      name: 'a lab network with its own mask and a gateway inside',
      text: '192.168.0.0/24 192.168.0.255 255.255.255.0 192.168.0.1',
      want: { cidrs: ['192.168.0.0/24'], prefix: 24, broadcast: '192.168.0.255', gateway: '192.168.0.1', warnings: 0 },
    },
    {
      name: 'a small lab network, whose broadcast address does not end in 255',
      text: '192.168.0.64/26 192.168.0.127 255.255.255.192 192.168.0.65',
      want: {
        cidrs: ['192.168.0.64/26'],
        prefix: 26,
        broadcast: '192.168.0.127',
        gateway: '192.168.0.65',
        warnings: 0,
      },
    },
    {
      name: 'a gateway of another site: nothing is assumed',
      text: '10.180.0.0/22 10.159.255.254',
      want: { cidrs: ['10.180.0.0/22'], gateway: '10.159.255.254', warnings: 0 },
    },
    {
      name: 'two sites: nothing is assumed',
      text: '10.180.0.0/22\n10.132.0.0/22\n',
      want: { cidrs: ['10.180.0.0/22', '10.132.0.0/22'], warnings: 0 },
    },
    {
      name: 'a broadcast address that is not of the network is told',
      text: '192.168.0.0/24 192.168.0.255 255.255.254.0 192.168.0.1',
      want: { cidrs: ['192.168.0.0/24'], prefix: 23, broadcast: '192.168.0.255', gateway: '192.168.0.1', warnings: 1 },
    },
  ]) {
    const empty = {
      cidrs: [],
      addresses: [],
      prefix: undefined,
      broadcast: undefined,
      gateway: undefined,
      dns: [],
      domain: undefined,
    };
    t.strictSame(show(parseSubnetText(c.text)), { ...empty, ...c.want }, c.name);
  }
  t.equal(parseSubnetText('10.180.0.0/22').source, 'cidr-list');
  t.equal(parseSubnetText(FULL).source, 'g5k-subnets');
  t.equal(parseSubnetText('10.180.0.1').source, 'g5k-subnets');
  t.end();
});

void t.test('the forms of one job give one pool', (t) => {
  const pool = ['10.180.0.1-10.180.3.254'];
  for (const text of [
    FULL,
    '10.180.0.0/22',
    '10.180.0.0/23\n10.180.2.0/23',
    listed(formatIpv4),
    listed((address) => `${formatIpv4(address)}\t${formatMac(leasedMac(address)).toUpperCase()}`),
    listed((address) => `${formatIpv4(address)} 10.183.255.255 255.252.0.0 10.183.255.254`),
    JSON.stringify({ resources_by_type: { subnets: ['10.180.0.0/22'] } }),
  ]) {
    const source = text.startsWith('{') ? parseG5kJob(text) : parseSubnetText(text);
    t.same(usableOf(source).map(formatRange), pool, text.slice(0, 40));
    t.match(show(source), SITE);
  }
  t.end();
});

void t.test('MAC columns', (t) => {
  const macs = parseSubnetText(FULL).macs;
  t.equal(macs, undefined);
  const source = parseSubnetText(
    '10.180.0.1 00:16:3e:b4:00:01\n10.180.0.2 00:16:3e:99:99:99\n10.180.0.3 00:16:3e:99:99:98\n',
  );
  t.equal(source.macs?.size, 3);
  t.equal(source.macs?.get(parseIpv4('10.180.0.1')), leasedMac(parseIpv4('10.180.0.1')));
  const [warning, ...rest] = source.warnings.filter(({ text }) => text.includes('MAC'));
  t.same(rest, [], 'one warning for all');
  t.match(warning, { line: 2, text: /2 differ/ });
  t.end();
});

void t.test('text that is refused', (t) => {
  for (const c of [
    { name: 'nothing', text: '', details: { hint: /-j JOBID/ } },
    { name: 'blank lines and comments', text: ' \r\n# nothing\n\n', details: { hint: /-j JOBID/ } },
    { name: 'a DNS line alone', text: 'dns.grenoble.grid5000.fr 172.16.16.247', details: { hint: /-j JOBID/ } },
    { name: 'bare networks', text: '10.8.0.0\n10.8.8.0\n', details: { hint: /-a or g5k-subnets -p/ } },
    { name: 'a word', text: '10.180.0.0/22\nhello\n', details: { line: '2', token: 'hello' } },
    { name: 'an octet', text: '10.180.0.0/22\n\n10.180.4.300', details: { line: '3', token: '10.180.4.300' } },
    {
      name: 'host bits',
      text: '10.180.0.1/22',
      details: { line: '1', token: '10.180.0.1/22', hint: /10\.180\.0\.0\/22/ },
    },
    { name: 'an octal octet', text: '10.180.0.010', details: { line: '1', token: '10.180.0.010' } },
    { name: 'a broken MAC', text: '10.180.0.1 0:16:3e:b4:00:01', details: { line: '1', token: '0:16:3e:b4:00:01' } },
    { name: 'a mask with a hole', text: '10.180.0.0/22 255.0.255.0', details: { line: '1', token: '255.0.255.0' } },
    {
      name: 'two masks',
      text: '10.180.0.0/22 255.252.0.0 255.255.252.0',
      details: { line: '1', token: '255.255.252.0' },
    },
    { name: 'a mask first', text: '255.252.0.0', details: { line: '1', token: '255.252.0.0' } },
    {
      name: 'a MAC of a network',
      text: '10.180.0.0/22 00:16:3e:b4:00:01',
      details: { line: '1', token: '00:16:3e:b4:00:01' },
    },
    {
      name: 'two MACs',
      text: '10.180.0.1 00:16:3e:b4:00:01 00:16:3e:b4:00:02',
      details: { line: '1', token: '00:16:3e:b4:00:02' },
    },
    { name: 'two names', text: '10.180.0.0/22 a.b c.d', details: { line: '1', token: 'c.d' } },
    { name: 'JSON', text: '{"uid": 12}', details: { line: '1' } },
    { name: 'an escape sequence', text: '\u001b[31m/22', details: { line: '1', token: '?[31m/22' } },
    {
      name: 'two gateways',
      text: '10.180.0.0/22 10.183.255.254\n# .\n10.180.4.0/22 10.183.255.253',
      details: { line: '3', otherLine: '1', token: '10.183.255.253' },
    },
    {
      name: 'two masks on two lines',
      text: '192.168.0.0/24 255.255.254.0\n192.168.1.0/24 255.255.252.0',
      details: { line: '2', otherLine: '1' },
    },
    {
      name: 'two domains',
      text: '10.180.0.0/22 dns.a.fr 172.16.0.1\n10.180.4.0/22 dns.b.fr 172.16.0.1',
      details: { line: '2', otherLine: '1' },
    },
  ]) {
    t.throws(() => parseSubnetText(c.text), { code: 'invalid', details: c.details }, c.name);
  }
  t.equal(parseSubnetText('10.8.0.0\n10.8.0.1\n').addresses.length, 2, 'aligned addresses among others are addresses');
  t.end();
});

/** The keys are those of grid5000/g5k-api's spec; the values are made up. */
const JOB = {
  uid: 374192,
  user_uid: 'jdoe',
  user: 'jdoe',
  walltime: 7200,
  queue: 'default',
  state: 'running',
  project: 'default',
  types: ['deploy'],
  mode: 'INTERACTIVE',
  submitted_at: 1294395990,
  scheduled_at: 1294395995,
  started_at: 1294396000,
  message: 'FIFO scheduling OK',
  properties: "deploy='YES'",
  directory: '/home/jdoe',
  events: [],
  links: [
    { rel: 'self', href: '/3.0/sites/rennes/jobs/374192', type: 'application/vnd.grid5000.item+json' },
    { rel: 'parent', href: '/3.0/sites/rennes', type: 'application/vnd.grid5000.item+json' },
  ],
  resources_by_type: { cores: ['paramount-4.rennes.grid5000.fr'], subnets: ['10.156.0.0/22', '10.156.4.0/22'] },
  assigned_nodes: ['paramount-4.rennes.grid5000.fr'],
};

function job(change: Record<string, unknown> = {}): string {
  return JSON.stringify({ ...JOB, ...change });
}

void t.test("a job of the Grid'5000 API", (t) => {
  const source = parseG5kJob(job());
  t.strictSame(show(source), {
    cidrs: ['10.156.0.0/22', '10.156.4.0/22'],
    addresses: [],
    prefix: 14,
    broadcast: '10.159.255.255',
    gateway: '10.159.255.254',
    dns: [],
    domain: 'rennes.grid5000.fr',
    warnings: 1,
  });
  const { source: kind, jobId, site, user, startsAtMs, endsAtMs } = source;
  t.same(
    { kind, jobId, site, user, startsAtMs, endsAtMs },
    {
      kind: 'g5k-api',
      jobId: '374192',
      site: 'rennes',
      user: 'jdoe',
      startsAtMs: 1294396000_000,
      endsAtMs: 1294403200_000,
    },
  );
  const waiting = parseG5kJob(job({ started_at: 0, state: 'waiting' }));
  t.equal(waiting.startsAtMs, 1294395995_000, 'not started: as scheduled');
  t.equal(waiting.endsAtMs, 1294403195_000);
  const undecided = parseG5kJob(job({ started_at: 0, scheduled_at: null }));
  t.notOk('startsAtMs' in undecided || 'endsAtMs' in undecided);
  t.notOk('endsAtMs' in parseG5kJob(job({ walltime: undefined })));
  t.equal(parseG5kJob(job({ links: undefined })).site, 'rennes', 'the nodes tell the site too');
  t.equal(parseG5kJob(job({ links: [null, 7, {}], assigned_nodes: ['x'] })).site, undefined);
  t.equal(parseG5kJob(job({ user_uid: undefined, user: 'root' })).user, 'root');
  t.end();
});

void t.test('JSON that is refused', (t) => {
  for (const c of [
    { name: 'no JSON', json: 'hello' },
    { name: 'nothing', json: '' },
    { name: 'a number', json: '7' },
    { name: 'null', json: 'null' },
    { name: 'a list', json: `[${job()}]` },
    { name: 'a collection', json: JSON.stringify({ total: 1, offset: 0, items: [JOB] }) },
    { name: 'a site', json: JSON.stringify({ uid: 'rennes', type: 'site', links: [] }) },
    { name: 'a job without subnets', json: job({ resources_by_type: { cores: [] } }) },
    { name: 'an empty list of subnets', json: job({ resources_by_type: { subnets: [] } }) },
    { name: 'a waiting job', json: job({ state: 'waiting', resources_by_type: {} }), details: { hint: /waits/ } },
    { name: 'subnets that are a text', json: job({ resources_by_type: { subnets: '10.156.0.0/22' } }) },
    { name: 'a subnet that is a number', json: job({ resources_by_type: { subnets: [10] } }) },
    { name: 'a malformed subnet', json: job({ resources_by_type: { subnets: ['10.156.0.1/22'] } }) },
    { name: 'resources that are null', json: job({ resources_by_type: null }) },
  ]) {
    t.throws(() => parseG5kJob(c.json), { code: 'invalid', ...(c.details && { details: c.details }) }, c.name);
  }
  for (const state of ['terminated', 'error', 'Terminated']) {
    t.throws(() => parseG5kJob(job({ state })), { code: 'wrong_state' }, `a job that is ${state}`);
  }
  t.end();
});

void t.test('whatever the text is, a parser throws AppError only', (t) => {
  const word = fc.constantFrom(
    ...[
      '10.180.0.0/22',
      '10.180.0.1',
      '10.183.255.254',
      '255.252.0.0',
      '00:16:3e:00:00:01',
      'dns.a.fr',
      '0.0.0.0',
      '255.255.255.255',
    ],
    ...['0.0.0.0/0', '#', '\t', ' ', '\r\n', '\n', '/', ':', '.', '{', '-1', '9'.repeat(400)],
  );
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(word).map((words) => words.join(' ')),
    fc.array(word).map((words) => words.join('')),
  );
  const isKnown = (run: () => unknown): boolean => {
    try {
      run();
    } catch (error) {
      if (!(error instanceof AppError) || error.code === 'internal') throw error;
      return !/[\p{Cc}]/u.test(error.message);
    }
    return true;
  };
  fc.assert(
    fc.property(text, (any) => isKnown(() => parseSubnetText(any))),
    { numRuns: 1000 },
  );
  const anything = fc.jsonValue();
  const keys = fc.constantFrom(...Object.keys(JOB));
  fc.assert(fc.property(fc.string(), (any) => isKnown(() => parseG5kJob(any))));
  fc.assert(fc.property(anything, (any) => isKnown(() => parseG5kJob(JSON.stringify(any)))));
  fc.assert(
    fc.property(keys, anything, (key, value) => isKnown(() => parseG5kJob(job({ [key]: value })))),
    { numRuns: 500 },
  );
  t.end();
});
