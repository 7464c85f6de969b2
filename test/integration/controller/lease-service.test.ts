import t from 'tap';
import { type Lease } from '../../../controller/domain/lease.js';
import type { AppError } from '../../../shared/errors.js';
import { formatMac, leasedMac, parseMac } from '../../../shared/domain/mac.js';
import {
  acquire,
  callerOf,
  checkAgreement,
  claimOf,
  HOUR_MS,
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

t.test('acquire', (t) => {
  t.test('gives the next addresses with their MACs, and the same ones again to the same owners', async (t) => {
    const services = await withSmallPool();
    const [a, b] = await acquire(services, ['a', 'b']);
    t.same(show([a!, b!]), ['10.144.0.1 bound', '10.144.0.2 bound']);
    t.equal(formatMac(a!.mac), '00:16:3e:90:00:01');
    t.same(await acquire(services, ['b', 'a']), [b, a]);
    t.same(kinds(services, '10.144.0.1'), ['lease.acquired']);
    checkAgreement(t, services);
  });

  t.test('pending with a TTL, bound without', async (t) => {
    const services = await withSmallPool();
    const [pending] = await acquire(services, ['a'], MINUTE_MS);
    t.equal(pending?.expiresAtMs, services.clock.nowMs() + MINUTE_MS);
    t.same(show(await acquire(services, ['a'], 2 * MINUTE_MS)), ['10.144.0.1 pending']);
    t.same(show(await acquire(services, ['a'])), ['10.144.0.1 bound'], 'who asks for good is not left with a TTL');
  });

  t.test('all or none, and a request that fails leaves the pool as it was', async (t) => {
    const services = await withSmallPool();
    const wanted = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
    const full = await refusal(acquire(services, wanted));
    t.match(full, { code: 'exhausted', details: { size: '6' } });
    t.same(show(await acquire(services, ['a'])), ['10.144.0.1 bound']);
    checkAgreement(t, services);
  });

  t.test('a full pool says how full, by whom, and when something becomes free', async (t) => {
    const services = await withSmallPool();
    await acquire(services, ['a', 'b', 'c', 'd', 'e', 'f']);
    await services.leases.release([ip('10.144.0.3')], false, callerOf());
    const { code, details } = await refusal(acquire(services, ['g']));
    t.equal(code, 'exhausted');
    t.match(details, { size: '6', held: '6', free: '0', nextFreeAt: '2026-01-05T10:00:00Z' });
    t.match(details['by'], /a \(1\)/);
  });

  t.test('next-fit: a freed address is not the next to be given', async (t) => {
    const services = await withSmallPool();
    await acquire(services, ['a', 'b']);
    await services.leases.release([ip('10.144.0.1')], false, callerOf());
    services.clock.advance(HOUR_MS);
    await services.sweeper.sweep(services.clock.nowMs());
    t.same(show(await acquire(services, ['c', 'd', 'e', 'f', 'g'])).at(-1), '10.144.0.1 bound');
  });

  t.test('a released address rests for its owner, and comes back with its MAC', async (t) => {
    const services = await withSmallPool();
    const mac = parseMac('00:16:3e:00:aa:aa');
    const [first] = await services.leases.acquire([claimOf('a', '10.144.0.4', mac)], '', undefined, callerOf());
    await services.leases.release([ip('10.144.0.4')], false, callerOf());
    const [again] = await acquire(services, ['a'], MINUTE_MS);
    t.same([again?.id, again?.address, again?.mac, again?.state], [first?.id, ip('10.144.0.4'), mac, 'pending']);
    t.same(kinds(services, '10.144.0.4'), ['lease.acquired', 'lease.released', 'lease.revived']);
    await services.leases.release([ip('10.144.0.4')], false, callerOf());
    const other = parseMac('00:16:3e:00:bb:bb');
    const [changed] = await services.leases.acquire([claimOf('a', '10.144.0.4', other)], '', undefined, callerOf());
    t.same([changed?.id, changed?.mac], [first?.id, other], 'with another MAC if that is asked for');
    checkAgreement(t, services);
  });

  t.test('the same request id gets the same answer, also when it is over long since', async (t) => {
    const services = await withSmallPool();
    const first = await acquire(services, ['a'], undefined, 'request-1');
    await services.leases.release([ip('10.144.0.1')], false, callerOf());
    t.same(plain(await acquire(services, ['a'], undefined, 'request-1')), plain(first));
    const other = services.leases.release([ip('10.144.0.1')], false, callerOf('request-1', 'other'));
    t.equal((await refusal(other)).code, 'invalid');
  });

  t.test('many at once never share an address', async (t) => {
    const services = await withSmallPool('10.144.0.0/25');
    const results = await Promise.allSettled(
      Array.from({ length: 200 }, (_, n) => acquire(services, [`vm-${String(n)}`])),
    );
    const given = results.flatMap((result) => (result.status === 'fulfilled' ? result.value : []));
    t.equal(new Set(given.map(({ address }) => address)).size, 126);
    t.equal(given.length, 126);
    const refused = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as AppError] : []));
    t.ok(refused.every(({ code }) => code === 'exhausted'));
    checkAgreement(t, services);
  });
  t.end();
});

t.test('chosen addresses and MACs', async (t) => {
  const services = makeAddressServices();
  const blocks = '10.144.0.0/22 10.144.4.0/22'.split(' ').join('\n');
  const { clock, reservations, leases, macs, observed } = services;
  const exclusions = [{ first: ip('10.144.1.0'), last: ip('10.144.1.9') }];
  const options = { name: 'job-1', dns: [], exclusions, endsAtMs: clock.nowMs() + 8 * HOUR_MS };
  await reservations.import({ text: blocks, options, isDryRun: false }, callerOf());
  const take = (owner: string, address?: string, mac?: string): Promise<readonly Lease[]> =>
    leases.acquire(
      [claimOf(owner, address, mac === undefined ? undefined : parseMac(mac))],
      'job-1',
      undefined,
      callerOf(),
    );
  await take('a', '10.144.0.10');
  await take('gone', '10.144.0.11');
  await leases.release([ip('10.144.0.11')], false, callerOf());
  await take('unlucky', '10.144.0.12');
  await leases.decline(ip('10.144.0.12'), parseMac('52:54:00:00:00:01'), callerOf());
  await macs.claim(nameOwner('printer'), parseMac('00:16:3e:00:00:77'), callerOf());
  observed.add(parseMac('00:16:3e:00:00:99'));

  const cases: readonly (readonly [
    string,
    readonly [string, (string | undefined)?, string?],
    string,
    Record<string, string>,
  ])[] = [
    ['outside of the pool', ['x', '10.144.9.1'], 'invalid', { reason: 'outside' }],
    ['the edge of a block', ['x', '10.144.4.0'], 'invalid', { reason: 'edge' }],
    ['excluded', ['x', '10.144.1.5'], 'invalid', { reason: 'excluded' }],
    ['held by another', ['x', '10.144.0.10'], 'already_exists', { by: 'a', state: 'bound' }],
    ['resting', ['x', '10.144.0.11'], 'already_exists', { by: 'gone', until: '2026-01-05T10:00:00Z' }],
    ['declined', ['x', '10.144.0.12'], 'already_exists', { by: 'unlucky', state: 'declined' }],
    ['its owner holds another', ['a', '10.144.0.20'], 'wrong_state', { address: '10.144.0.10' }],
    ['its owner has another MAC', ['a', undefined, '00:16:3e:00:00:01'], 'wrong_state', { address: '10.144.0.10' }],
    ['MAC of a lease', ['x', undefined, '00:16:3e:90:00:0a'], 'already_exists', { by: 'a' }],
    ['MAC of a claim', ['x', undefined, '00:16:3e:00:00:77'], 'already_exists', { by: 'printer' }],
    ['MAC that another VM was seen with', ['x', undefined, '00:16:3e:00:00:99'], 'already_exists', {}],
    ['multicast MAC', ['x', undefined, '01:16:3e:00:00:01'], 'invalid', {}],
    ['zero MAC', ['x', undefined, '00:00:00:00:00:00'], 'invalid', {}],
  ];
  for (const [name, claim, code, details] of cases) {
    await t.test(`refused: ${name}`, async (t) => t.match(await refusal(take(...claim)), { code, details }));
  }

  await t.test('taken: free ones, and the MAC that the owner has claimed', async (t) => {
    const [lease] = await take('printer', '10.144.7.254', '00:16:3e:00:00:77');
    t.equal(formatMac(lease!.mac), '00:16:3e:00:00:77');
    const rows = await macs.list();
    t.match(
      rows.filter(({ owner }) => owner === 'printer'),
      [{ reason: 'chosen', address: ip('10.144.7.254') }],
    );
    checkAgreement(t, services);
  });

  await t.test('a MAC that belongs to the address but to somebody else too is replaced, and told of', async (t) => {
    await macs.claim(nameOwner('squatter'), leasedMac(ip('10.144.0.30')), callerOf());
    const [lease] = await take('b', '10.144.0.30');
    t.not(lease?.mac, leasedMac(ip('10.144.0.30')));
    t.equal(services.pools.isPoolMac(lease!.mac), false);
    t.same(kinds(services, '10.144.0.30'), ['lease.acquired', 'mac.clashed']);
    observed.add(leasedMac(ip('10.144.0.31')));
    const [seen] = await take('c', '10.144.0.31');
    t.not(seen?.mac, leasedMac(ip('10.144.0.31')));
  });

  await t.test('next tells what the next claims get', async (t) => {
    await macs.claim(nameOwner('squatter-2'), leasedMac(ip('10.144.0.3')), callerOf());
    const { candidates } = leases.next('job-1', 4);
    t.same(candidates[2]?.mac, undefined, 'a random MAC cannot be told');
    const given = await leases.acquire(
      ['n1', 'n2', 'n3', 'n4'].map((owner) => claimOf(owner)),
      '',
      undefined,
      callerOf(),
    );
    t.same(
      candidates.map(({ address }) => address),
      given.map(({ address }) => address),
    );
    t.same([candidates[0]?.mac, candidates[3]?.mac], [given[0]?.mac, given[3]?.mac]);
    t.throws(() => leases.next('job-1', 4096), { code: 'exhausted' });
    t.throws(() => leases.next('other', 1), { code: 'not_found' });
  });
});

t.test('bind, extend, release, decline', async (t) => {
  const at = '10.144.0.1';
  type Step = (services: AddressServices) => Promise<unknown>;
  const bind: Step = ({ leases }) => leases.bind([ip(at)], callerOf());
  const extend: Step = ({ leases }) => leases.extend([ip(at)], 5 * MINUTE_MS, callerOf());
  const release: Step = ({ leases }) => leases.release([ip(at)], false, callerOf());
  const force: Step = ({ leases }) => leases.release([ip(at)], true, callerOf());
  const decline: Step = ({ leases }) => leases.decline(ip(at), undefined, callerOf());
  const byItself: Step = ({ leases }) => leases.decline(ip(at), leasedMac(ip(at)), callerOf());
  const stop: Step = ({ knowledge }) => Promise.resolve(knowledge.stopped.add(7));

  const cases: readonly (readonly [string, readonly Step[], string])[] = [
    ['bind', [bind], 'bound'],
    ['bind twice', [bind, bind], 'bound'],
    ['extend a pending one', [extend], 'pending'],
    ['extend a bound one', [bind, extend], 'wrong_state'],
    ['release a pending one', [release], 'quarantined'],
    ['release while the VM may run', [bind, release], 'wrong_state'],
    ['release by force', [bind, force], 'quarantined'],
    ['release when the VM is stopped', [bind, stop, release], 'quarantined'],
    ['release twice', [release, release], 'quarantined'],
    ['bind a resting one', [release, bind], 'wrong_state'],
    ['extend a resting one', [release, extend], 'wrong_state'],
    ['decline', [bind, decline], 'declined'],
    ['decline twice', [decline, decline], 'declined'],
    ['decline a resting one', [release, decline], 'declined'],
    ['decline for its own MAC', [bind, byItself], 'bound'],
    ['release a declined one', [decline, release], 'quarantined'],
    ['bind a declined one', [decline, bind], 'wrong_state'],
  ];
  for (const [name, steps, want] of cases) {
    await t.test(`${name}: ${want}`, async (t) => {
      const services = await withSmallPool();
      await services.leases.acquire([claimOf(vifOwner(7))], '', MINUTE_MS, callerOf());
      let last = 'ok';
      for (const step of steps)
        last = await step(services).then(
          () => 'ok',
          (error: unknown) => (error as AppError).code,
        );
      const state = services.journal.read((stores) => stores.leases.findByAddress(ip(at))?.state);
      t.equal(last === 'ok' ? state : last, want);
      checkAgreement(t, services);
    });
  }

  await t.test('an address without a lease is not found, and the others stay as they are', async (t) => {
    const services = await withSmallPool();
    await acquire(services, ['a']);
    for (const work of [
      services.leases.release([ip(at), ip('10.144.0.5')], false, callerOf()),
      services.leases.bind([ip('10.144.0.5')], callerOf()),
      services.leases.extend([ip('10.144.0.5')], 1000, callerOf()),
      services.leases.decline(ip('10.144.0.5'), undefined, callerOf()),
    ]) {
      t.equal((await refusal(work)).code, 'not_found');
    }
    t.equal(
      services.journal.read((stores) => stores.leases.findByAddress(ip(at))?.state),
      'bound',
    );
  });
});

t.test('undoIn', async (t) => {
  const acquireAndUndo = async (
    services: AddressServices,
    address?: string,
    between?: () => Promise<unknown>,
  ): Promise<void> => {
    const { journal, leases, pools } = services;
    const reservation = pools.choose('', services.clock.nowMs()).reservation;
    const claim = claimOf('a', address);
    const taken = await journal.submit((tx) => {
      const before = leases.findBeforeIn(tx, claim, reservation);
      return { before, lease: leases.acquireIn(tx, [claim], reservation, MINUTE_MS, callerOf())[0]! };
    });
    await between?.();
    await journal.submit((tx) => leases.undoIn(tx, taken.before, taken.lease, callerOf()));
    checkAgreement(t, services);
  };
  const stateOf = ({ journal }: AddressServices, address: string): Lease | undefined =>
    journal.read((stores) => stores.leases.findByAddress(ip(address)));

  await t.test('a fresh one is gone at once', async (t) => {
    const services = await withSmallPool();
    await acquireAndUndo(services);
    t.equal(stateOf(services, '10.144.0.1'), undefined);
    t.same(show(await services.leases.acquire([claimOf('b', '10.144.0.1')], '', undefined, callerOf())), [
      '10.144.0.1 bound',
    ]);
  });
  await t.test('a revived one rests on, to its old end', async (t) => {
    const services = await withSmallPool();
    await acquire(services, ['a']);
    const [rested] = await services.leases.release([ip('10.144.0.1')], false, callerOf());
    services.clock.advance(MINUTE_MS);
    await acquireAndUndo(services);
    t.match(stateOf(services, '10.144.0.1'), { state: 'quarantined', expiresAtMs: rested?.expiresAtMs });
    await acquireAndUndo(services, '10.144.0.1');
    t.match(stateOf(services, '10.144.0.1'), { state: 'quarantined' }, 'also one that was chosen');
  });
  await t.test('one that was held before stays', async (t) => {
    const services = await withSmallPool();
    await acquire(services, ['a']);
    await acquireAndUndo(services);
    t.match(stateOf(services, '10.144.0.1'), { state: 'bound' });
  });
  await t.test('one that was bound or declined since stays', async (t) => {
    const services = await withSmallPool();
    await acquireAndUndo(services, undefined, () => services.leases.bind([ip('10.144.0.1')], callerOf()));
    t.match(stateOf(services, '10.144.0.1'), { state: 'bound' });
    const other = await withSmallPool();
    await acquireAndUndo(other, undefined, () => other.leases.decline(ip('10.144.0.1'), undefined, callerOf()));
    t.match(stateOf(other, '10.144.0.1'), { state: 'declined' });
  });
});
