import t from 'tap';
import { ownerKey } from '../../../controller/domain/lease.js';
import { formatIpv4 } from '../../../shared/domain/ipv4.js';
import { formatMac, parseMac, type Mac } from '../../../shared/domain/mac.js';
import {
  acquire,
  callerOf,
  checkAgreement,
  claimOf,
  HOUR_MS,
  importBlocks,
  ip,
  kinds,
  makeAddressServices,
  MINUTE_MS,
  nameOwner,
  plain,
  refusal,
  show,
  vifOwner,
  withSmallPool,
  type AddressServices,
} from '../../harness/address-services.js';

t.test('sweep', (t) => {
  const sweep = ({ sweeper, clock }: AddressServices): Promise<unknown> => sweeper.sweep(clock.nowMs());

  t.test('frees pending ones past their TTL and resting ones past their rest', async (t) => {
    const services = await withSmallPool();
    await acquire(services, ['a'], MINUTE_MS);
    await acquire(services, ['b']);
    await services.leases.release([ip('10.144.0.2')], false, callerOf());
    services.clock.advance(MINUTE_MS - 1);
    t.same(await sweep(services), { freed: 0, expired: 0 });
    services.clock.advance(1);
    t.same(await sweep(services), { freed: 1, expired: 0 });
    services.clock.advance(HOUR_MS);
    t.same(await sweep(services), { freed: 1, expired: 0 });
    t.same(kinds(services, '10.144.0.2'), ['lease.acquired', 'lease.released', 'lease.freed']);
    checkAgreement(t, services);
  });

  t.test('a lease ends with its reservation: freed, or expired while its VM may run', async (t) => {
    const services = await withSmallPool();
    const { leases, knowledge, clock } = services;
    const claims = [claimOf(vifOwner(1)), claimOf(vifOwner(2)), claimOf('box'), claimOf(vifOwner(3))];
    await leases.acquire(claims, '', undefined, callerOf());
    await leases.decline(ip('10.144.0.4'), undefined, callerOf());
    knowledge.stopped.add(1);
    clock.advance(8 * HOUR_MS);
    t.same(await sweep(services), { freed: 3, expired: 1 });
    t.same(await sweep(services), { freed: 0, expired: 0 });
    knowledge.stopped.add(2);
    t.same(await sweep(services), { freed: 1, expired: 0 });
    checkAgreement(t, services);
  });

  t.test('an expired lease blocks its address under the next reservation too, until its VM has stopped', async (t) => {
    const services = await withSmallPool('10.144.0.0/30');
    const { leases, knowledge, clock, pools } = services;
    await leases.acquire([claimOf(vifOwner(1))], '', undefined, callerOf());
    clock.advance(8 * HOUR_MS);
    await sweep(services);
    await importBlocks(services, 'job-2', '10.144.0.0/30');
    t.same(show(await acquire(services, ['a'])), ['10.144.0.2 bound']);
    const chosen = leases.acquire([claimOf('b', '10.144.0.1')], 'job-2', undefined, callerOf());
    t.match(await refusal(chosen), { code: 'already_exists', details: { state: 'expired' } });
    t.equal((await refusal(acquire(services, ['b']))).code, 'exhausted');
    knowledge.stopped.add(1);
    await sweep(services);
    t.equal(pools.findByName('job-2')?.bitmap.freeCount, 1);
    t.same(show(await acquire(services, ['b'])), ['10.144.0.1 bound']);
    checkAgreement(t, services);
  });

  t.test('nothing is given under a reservation that is over', async (t) => {
    const services = await withSmallPool();
    await acquire(services, ['a'], MINUTE_MS);
    services.clock.advance(8 * HOUR_MS);
    t.equal((await refusal(acquire(services, ['b']))).code, 'not_found');
    t.equal(
      (await refusal(services.leases.acquire([claimOf('b')], 'job-1', undefined, callerOf()))).code,
      'wrong_state',
    );
    t.equal((await refusal(services.leases.bind([ip('10.144.0.1')], callerOf()))).code, 'wrong_state');
  });

  t.test('prunes answers after a day and history after a month', async (t) => {
    const services = await withSmallPool();
    await acquire(services, ['a'], undefined, 'request-1');
    const remembered = (): boolean =>
      services.journal.read((stores) => stores.requests.find('request-1') !== undefined);
    services.clock.advance(24 * HOUR_MS);
    await sweep(services);
    t.equal(remembered(), true);
    services.clock.advance(MINUTE_MS);
    await sweep(services);
    t.equal(remembered(), false);
    services.clock.advance(31 * 24 * HOUR_MS);
    await sweep(services);
    t.same(services.events.list({}, 0, 10), []);
  });
  t.end();
});

t.test('list, history and watch', async (t) => {
  const services = makeAddressServices();
  await importBlocks(services, 'job-1', '10.144.0.0/20');
  const { leases } = services;
  const owners = Array.from({ length: 2500 }, (_, n) => `vm-${String(n)}`);
  for (let n = 0; n < owners.length; n += 500) await acquire(services, owners.slice(n, n + 500));

  await t.test('list comes in batches, by address', async (t) => {
    const sizes: number[] = [];
    const addresses: string[] = [];
    for await (const batch of leases.list({})) {
      sizes.push(batch.length);
      addresses.push(...batch.map(({ address }) => formatIpv4(address)));
    }
    t.same(sizes, [1000, 1000, 500]);
    t.same([addresses[0], addresses[1022], new Set(addresses).size], ['10.144.0.1', '10.144.4.1', 2500]);
    for await (const batch of leases.list({ states: ['declined'] }))
      t.fail(`an empty batch is not sent: ${String(batch.length)}`);
  });
  await t.test('history of an owner', async (t) => {
    await leases.release([ip('10.144.0.1')], false, callerOf());
    const events = leases.history({ owner: ownerKey(nameOwner('vm-0')) }, 10);
    t.same(
      events.map(({ kind }) => kind),
      ['lease.acquired', 'lease.released'],
    );
    t.match(events[1], {
      actor: 'admin:test',
      reservation: 'job-1',
      address: ip('10.144.0.1'),
      details: { was: 'bound' },
    });
  });
  await t.test('watch has the lease as it is then', async (t) => {
    t.throws(() => leases.watch('other', undefined, AbortSignal.abort()), { code: 'not_found' });
    const stream = leases.watch('job-1', undefined, new AbortController().signal);
    await importBlocks(services, 'job-2', '10.145.0.0/29');
    await leases.acquire([claimOf('elsewhere')], 'job-2', undefined, callerOf());
    await leases.decline(ip('10.144.0.2'), undefined, callerOf());
    for await (const { event, lease } of stream) {
      t.same([event.kind, lease?.state], ['lease.declined', 'declined']);
      break;
    }
  });
});

t.test('MACs', async (t) => {
  const services = await withSmallPool();
  const { macs, leases, observed } = services;
  const claim = (owner: string, mac?: Mac): Promise<{ mac: Mac }> => macs.claim(nameOwner(owner), mac, callerOf());
  const random = await claim('a');
  t.match(formatMac(random.mac), /^00:16:3e:/);
  t.same(await claim('a'), random, 'the same owner gets the same');
  t.equal((await refusal(claim('a', parseMac('00:16:3e:00:00:42')))).code, 'wrong_state');
  t.match(await refusal(claim('b', random.mac)), { code: 'already_exists', details: { by: 'a' } });
  t.equal((await refusal(claim('b', parseMac('ff:ff:ff:ff:ff:ff')))).code, 'invalid');
  observed.add(parseMac('00:16:3e:00:00:43'));
  t.equal((await refusal(claim('b', parseMac('00:16:3e:00:00:43')))).code, 'already_exists');
  const [lease] = await leases.acquire([claimOf(vifOwner(7))], '', undefined, callerOf());
  t.match(await refusal(macs.release(lease!.mac, callerOf())), {
    code: 'wrong_state',
    details: { address: '10.144.0.1' },
  });
  t.match(
    (await macs.list()).map(({ reason, owner, address }) => [reason, owner, address]),
    [
      ['random', 'a', undefined],
      ['leased', 'vm7@dom0-1#0', ip('10.144.0.1')],
    ],
  );
  await macs.release(random.mac, callerOf());
  t.equal((await refusal(macs.release(random.mac, callerOf()))).code, 'not_found');
  t.match(
    services.events.list({ mac: random.mac }, undefined, 10).map(({ kind }) => kind),
    ['mac.claimed', 'mac.released'],
  );
});

t.test('a restart: what was told is still so, and nothing is given twice', async (t) => {
  const services = await withSmallPool();
  const before = await acquire(services, ['a', 'b', 'c'], undefined, 'request-1');
  const restarted = makeAddressServices(services.database, services.clock);
  t.same(plain(await acquire(restarted, ['a', 'b', 'c'], undefined, 'request-1')), plain(before));
  t.same(await acquire(restarted, ['a', 'b', 'c']), before);
  t.same(show(await acquire(restarted, ['d'])), ['10.144.0.4 bound']);
});
