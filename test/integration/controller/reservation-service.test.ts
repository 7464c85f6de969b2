import t from 'tap';
import type { ImportOptions } from '../../../controller/domain/reservation-plan.js';
import type { ImportResult } from '../../../controller/services/reservation-service.js';
import { formatRange } from '../../../shared/domain/address-range.js';
import { formatIpv4 } from '../../../shared/domain/ipv4.js';
import {
  callerOf,
  checkAgreement,
  claimOf,
  HOUR_MS,
  importBlocks,
  ip,
  kinds,
  makeAddressServices,
  plain,
  refusal,
  show,
  vifOwner,
  type AddressServices,
} from '../../harness/address-services.js';

/** As `g5k-subnets -a` prints it. */
const SUBNETS =
  '10.180.0.0/22\t10.183.255.255\t255.252.0.0\t10.183.255.254\t10.180.0.0\tdns.grenoble.grid5000.fr\t172.16.16.247\n';

const START_MS = makeAddressServices().clock.nowMs();
const ENDS = { endsAtMs: START_MS + 8 * HOUR_MS };

type Options = Partial<ImportOptions>;

function load(services: AddressServices, text: string, options: Options, requestId?: string): Promise<ImportResult> {
  const full = { dns: [], exclusions: [], ...options };
  return services.reservations.import({ text, options: full, isDryRun: false }, callerOf(requestId));
}

function job(fields: Record<string, unknown>): string {
  return JSON.stringify({
    uid: 1234,
    state: 'running',
    user_uid: 'jdoe',
    started_at: START_MS / 1000,
    walltime: 7200,
    assigned_nodes: ['edel-1.grenoble.grid5000.fr'],
    resources_by_type: { subnets: ['10.180.0.0/22'] },
    ...fields,
  });
}

t.test('import', (t) => {
  t.test('reads the tool, with its settings, and keeps gateway, broadcast and DNS out', async (t) => {
    const services = makeAddressServices();
    const { view, change } = await load(services, SUBNETS, { name: 'job-1', ...ENDS });
    t.equal(change, 'created');
    t.match(view, { phase: 'active', size: 1022, free: 1022, data: { source: 'g5k-subnets' } });
    t.match(view.data.settings, { prefix: 14, gateway: ip('10.183.255.254'), domain: 'grenoble.grid5000.fr' });
    t.same(view.data.exclusions.map(formatRange), ['10.183.255.254-10.183.255.255', '172.16.16.247']);
    t.same(plain(services.reservations.get('job-1')), plain(view));
    t.same(plain(services.reservations.get('')), plain(view), 'the only active one need not be named');
    t.match(services.reservations.list(), [{ data: { name: 'job-1' } }]);
  });

  t.test('reads the API by its shape: name, times and user are there', async (t) => {
    const { view } = await load(makeAddressServices(), job({}), {});
    t.match(view.data, {
      name: 'job-1234',
      jobId: '1234',
      user: 'jdoe',
      endsAtMs: START_MS + 2 * HOUR_MS,
      source: 'g5k-api',
    });
  });

  t.test('what the user says wins', async (t) => {
    const options: Options = {
      name: 'mine',
      ...ENDS,
      prefix: 16,
      gateway: ip('10.180.255.1'),
      dns: [ip('10.180.0.53')],
      domain: '',
      exclusions: [{ first: ip('10.180.0.50'), last: ip('10.180.0.59') }],
    };
    const { view } = await load(makeAddressServices(), SUBNETS, options);
    t.same(view.data.settings, {
      prefix: 16,
      broadcast: ip('10.180.255.255'),
      gateway: ip('10.180.255.1'),
      dns: [ip('10.180.0.53')],
      domain: undefined,
    });
    t.equal(view.size, 1012);
    t.same(view.data.exclusions.map(formatRange), ['10.180.0.50-10.180.0.59', '10.180.255.1', '10.180.255.255']);
  });

  const refused: readonly (readonly [string, string, Options, string, Record<string, string>])[] = [
    ['no name', SUBNETS, ENDS, 'invalid', { field: 'name' }],
    ['malformed name', SUBNETS, { name: 'a b', ...ENDS }, 'invalid', {}],
    ['no end', SUBNETS, { name: 'x' }, 'invalid', { field: 'ends_at' }],
    ['over already', SUBNETS, { name: 'x', endsAtMs: START_MS }, 'wrong_state', { endsAt: '2026-01-05T09:00:00Z' }],
    ['ends before it starts', SUBNETS, { name: 'x', startsAtMs: START_MS + 9 * HOUR_MS, ...ENDS }, 'invalid', {}],
    ['job that has ended', job({ state: 'terminated' }), {}, 'wrong_state', {}],
    ['malformed line', `${SUBNETS}10.180.4.0/33\n`, { name: 'x', ...ENDS }, 'invalid', { line: '2' }],
    [
      'no gateway to be known',
      '192.168.0.0/24',
      { name: 'x', ...ENDS },
      'invalid',
      { missing: 'prefix length and gateway' },
    ],
    ['no gateway told', '192.168.0.0/24', { name: 'x', ...ENDS, prefix: 24 }, 'invalid', { missing: 'gateway' }],
    ['no address left', '10.144.0.1/32', { name: 'x', ...ENDS, gateway: ip('10.144.0.1') }, 'invalid', {}],
    ['no subnet', '', { name: 'x', ...ENDS }, 'invalid', {}],
    ...[-1, 0, 31, 33, 4e9, 1.5, NaN].map(
      (prefix) =>
        [
          `a prefix of ${String(prefix)}`,
          SUBNETS,
          { name: 'x', ...ENDS, prefix },
          'invalid',
          { field: 'prefix_length' },
        ] as const,
    ),
    [
      'a mask of /31',
      '192.168.0.0/24 255.255.255.254',
      { name: 'x', ...ENDS, gateway: ip('192.168.0.1') },
      'invalid',
      {},
    ],
  ];
  for (const [name, text, options, code, details] of refused) {
    t.test(`refused: ${name}`, async (t) => {
      const services = makeAddressServices();
      t.match(await refusal(load(services, text, options)), { code, details });
      t.same(services.reservations.list(), []);
    });
  }

  t.test('the same again changes nothing, in whatever form', async (t) => {
    const services = makeAddressServices();
    const whole = await load(services, '10.144.0.0/16', { name: 'job-1', ...ENDS });
    const parts = Array.from({ length: 64 }, (_, n) => `10.144.${String(n * 4)}.0/22`)
      .reverse()
      .join('\r\n');
    const again = await load(services, parts, { name: 'job-1', ...ENDS });
    t.same([whole.change, again.change], ['created', 'none']);
    t.same(plain(again.view), plain(whole.view));
    services.clock.advance(HOUR_MS);
    const later = await load(services, '10.144.0.0/16', { name: 'job-1' });
    t.equal(later.change, 'none', 'start and end that are not told again stay');
    t.same(
      services.events.list({}, 0, 10).map(({ kind }) => kind),
      ['reservation.imported'],
    );
  });

  t.test('a form that tells less takes nothing back', async (t) => {
    const services = makeAddressServices();
    const exclusions = [{ first: ip('10.180.0.50'), last: ip('10.180.0.59') }];
    const first = await load(services, SUBNETS, { name: 'job-1', ...ENDS, exclusions });
    for (const text of ['10.180.0.0/22', '10.180.0.0/23\n10.180.2.0/23\n', SUBNETS]) {
      t.equal((await load(services, text, { name: 'job-1' })).change, 'none', text);
    }
    t.same(services.reservations.get('job-1').data.settings, first.view.data.settings);

    const own = { name: 'lab', ...ENDS, gateway: ip('192.168.7.1'), prefix: 24 };
    await load(services, '192.168.7.0/25', own);
    t.equal((await load(services, '192.168.7.0/25', { name: 'lab' })).change, 'none', 'what the user said stays');
    const other = await load(services, '10.132.0.0/22', { name: 'lab' });
    t.match(other.view.data.settings, { prefix: 14, gateway: ip('10.135.255.254') }, 'but not at another site');
  });

  t.test('another end or other addresses update it; leases stay', async (t) => {
    const services = makeAddressServices();
    await load(services, '10.144.0.0/22', { name: 'job-1', ...ENDS });
    await services.leases.acquire([claimOf('a', '10.144.0.9')], '', undefined, callerOf());
    const longer = await load(services, '10.144.0.0/22', { name: 'job-1', endsAtMs: ENDS.endsAtMs + 1 });
    const wider = await load(services, '10.144.0.0/21', { name: 'job-1' });
    t.same([longer.change, wider.change], ['updated', 'updated']);
    t.match(wider.view, { size: 2044, free: 2043, leases: { bound: 1 } });
    t.same(show(await services.leases.acquire([claimOf('a')], '', undefined, callerOf())), ['10.144.0.9 bound']);
    checkAgreement(t, services);
  });

  t.test('refused when a lease would fall out', async (t) => {
    const services = makeAddressServices();
    await load(services, '10.144.0.0/21', { name: 'job-1', ...ENDS });
    await services.leases.acquire([claimOf('a', '10.144.5.5'), claimOf('b')], '', undefined, callerOf());
    const smaller = await refusal(load(services, '10.144.0.0/22', { name: 'job-1' }));
    t.match(smaller, { code: 'wrong_state', details: { address: '10.144.5.5', by: 'a' } });
    const exclusions = [{ first: ip('10.144.5.0'), last: ip('10.144.5.9') }];
    t.equal((await refusal(load(services, '10.144.0.0/21', { name: 'job-1', exclusions }))).code, 'wrong_state');
    await services.leases.release([ip('10.144.5.5')], false, callerOf());
    t.equal(
      (await load(services, '10.144.0.0/22', { name: 'job-1' })).change,
      'updated',
      'a resting one is no obstacle',
    );
    checkAgreement(t, services);
  });

  t.test('overlap in addresses and time is refused with both names; in one of them alone it is not', async (t) => {
    const services = makeAddressServices();
    await load(services, '10.144.0.0/21', { name: 'job-1', ...ENDS });
    const overlap = await refusal(load(services, '10.144.4.0/22', { name: 'job-2', ...ENDS }));
    t.match(overlap, {
      code: 'already_exists',
      details: { reservation: 'job-2', by: 'job-1', range: '10.144.4.1-10.144.7.254' },
    });
    await load(services, '10.144.8.0/22', { name: 'job-3', ...ENDS });
    const after = { startsAtMs: ENDS.endsAtMs, endsAtMs: ENDS.endsAtMs + HOUR_MS };
    await load(services, '10.144.4.0/22', { name: 'job-4', ...after });
    const extended = services.reservations.extend('job-1', ENDS.endsAtMs + 1, callerOf());
    t.match(await refusal(extended), { code: 'already_exists', details: { by: 'job-4' } });
    t.same(
      services.reservations.list().map(({ data, phase }) => [data.name, phase]),
      [
        ['job-1', 'active'],
        ['job-3', 'active'],
        ['job-4', 'upcoming'],
      ],
    );
    t.throws(() => services.reservations.get(''), { code: 'invalid', details: { reservations: 'job-1, job-3' } });
    t.throws(() => services.reservations.get('other'), { code: 'not_found' });
  });

  t.test('a dry run answers the same and keeps nothing', async (t) => {
    const services = makeAddressServices();
    const options = { name: 'job-1', dns: [], exclusions: [], ...ENDS };
    const dry = await services.reservations.import({ text: SUBNETS, options, isDryRun: true }, callerOf('request-1'));
    t.same(services.reservations.list(), []);
    const real = await services.reservations.import({ text: SUBNETS, options, isDryRun: false }, callerOf('request-1'));
    t.same(plain(dry), plain(real));
    t.same(plain(await load(services, SUBNETS, {}, 'request-1')), plain(real), 'the request id was not used up');
  });

  t.test('one that fails at COMMIT leaves nothing in memory', async (t) => {
    const services = makeAddressServices();
    const failing = services.journal.submit((tx) => {
      services.pools.put(tx, tx.reservations.insert({ ...SAMPLE }));
      throw new Error('no');
    });
    await t.rejects(failing);
    t.same(services.reservations.list(), []);
  });
  t.end();
});

const SAMPLE = {
  name: 'sample',
  source: 'cidr-list' as const,
  user: undefined,
  site: undefined,
  jobId: undefined,
  startsAtMs: START_MS,
  ...ENDS,
  settings: { prefix: 14, broadcast: ip('10.147.255.255'), gateway: ip('10.147.255.254'), dns: [], domain: undefined },
  ranges: [{ first: ip('10.144.0.1'), last: ip('10.147.255.254') }],
  exclusions: [],
};

t.test('extend', async (t) => {
  const services = makeAddressServices();
  const { reservations, leases, clock, sweeper, knowledge } = services;
  await importBlocks(services, 'job-1', '10.144.0.0/29');
  await leases.acquire([claimOf(vifOwner(1)), claimOf('b')], '', undefined, callerOf());
  t.match(await reservations.extend('job-1', ENDS.endsAtMs + HOUR_MS, callerOf()), {
    data: { endsAtMs: ENDS.endsAtMs + HOUR_MS },
    leases: { bound: 2 },
  });
  t.equal((await refusal(reservations.extend('other', ENDS.endsAtMs, callerOf()))).code, 'not_found');
  t.equal((await refusal(reservations.extend('job-1', START_MS - 1, callerOf()))).code, 'invalid', 'before the start');
  clock.advance(9 * HOUR_MS);
  t.equal((await refusal(reservations.extend('job-1', START_MS + HOUR_MS, callerOf()))).code, 'invalid', 'past');
  await sweeper.sweep(clock.nowMs());
  t.match(reservations.get('job-1'), { phase: 'over', leases: { bound: 0, expired: 1 } });
  const renewed = await reservations.extend('job-1', ENDS.endsAtMs + 9 * HOUR_MS, callerOf());
  t.match(renewed, { phase: 'active', leases: { bound: 1, expired: 0 } }, 'its VM runs on, and so does its lease');
  t.same(kinds(services, '10.144.0.1'), ['lease.acquired', 'lease.expired', 'lease.revived']);
  t.same(show(await leases.acquire([claimOf(vifOwner(1))], '', undefined, callerOf())), ['10.144.0.1 bound']);
  knowledge.stopped.add(1);
  checkAgreement(t, services);
});

t.test('delete', async (t) => {
  const services = makeAddressServices();
  const { reservations, leases, clock, sweeper } = services;
  await importBlocks(services, 'job-1', '10.144.0.0/20');
  const owners = Array.from({ length: 1100 }, (_, n) => `vm-${String(n)}`);
  const given = await leases.acquire(
    owners.map((owner) => claimOf(owner)),
    '',
    undefined,
    callerOf(),
  );
  await leases.acquire([claimOf(vifOwner(1))], '', undefined, callerOf());
  const addresses = given.map(({ address }) => address);
  await leases.release(addresses, false, callerOf());
  t.match(await refusal(reservations.delete('job-1', callerOf())), {
    code: 'wrong_state',
    details: { leases: '1 bound' },
  });
  clock.advance(8 * HOUR_MS - 1);
  await leases.release([ip('10.144.4.79')], true, callerOf()).catch(() => undefined);
  const last = services.journal.read((stores) => stores.leases.list({ states: ['bound'] }, undefined, 10));
  await leases.release(
    last.map(({ address }) => address),
    true,
    callerOf(),
  );
  t.equal(await reservations.delete('job-1', callerOf('request-1')), 1101, 'more than one transaction frees');
  t.same(reservations.list(), []);
  t.equal(await reservations.delete('job-1', callerOf('request-1')), 1101);
  t.equal((await refusal(reservations.delete('job-1', callerOf()))).code, 'not_found');
  t.same(
    services.journal.read((stores) => [stores.leases.list({}, undefined, 1), stores.macs.list(undefined, 1)]),
    [[], []],
  );

  await importBlocks(services, 'job-2', '10.144.0.0/29', 1);
  await leases.acquire([claimOf(vifOwner(1))], '', undefined, callerOf());
  clock.advance(HOUR_MS);
  await sweeper.sweep(clock.nowMs());
  t.match(await refusal(reservations.delete('job-2', callerOf())), { details: { leases: '1 expired' } });
  t.equal(formatIpv4(services.pools.findByName('job-2')!.peek(1)[0]!), '10.144.0.2');
});

t.test('PoolIndex', async (t) => {
  const services = makeAddressServices();
  await importBlocks(services, 'job-1', '10.144.0.0/14');
  const { pools, journal } = services;
  const pool = pools.findByName('job-1')!;
  t.equal(pool.pool.size, 256 * 1022 - 1, 'less the gateway');
  await services.leases.acquire([claimOf('a')], '', undefined, callerOf());
  const failing = journal.submit((tx) => {
    pools.free(tx, ip('10.144.0.1'));
    pools.use(tx, ip('10.144.0.2'));
    t.equal(pools.next(tx, pool), ip('10.144.0.3'));
    throw new Error('no');
  });
  await t.rejects(failing);
  t.same([pool.bitmap.isUsed(0), pool.bitmap.isUsed(1)], [true, false], 'what is undone is undone in memory');
  t.same(pool.peek(1), [ip('10.144.0.2')]);
});
