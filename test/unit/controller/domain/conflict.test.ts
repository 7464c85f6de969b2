import fc from 'fast-check';
import t from 'tap';
import {
  findConflicts,
  type ConflictFacts,
  type KnownLease,
  type SeenVif,
} from '../../../../controller/domain/conflict.js';
import {
  LEASE_STATES,
  ownerKey,
  type Lease,
  type LeaseOwner,
  type LeaseState,
} from '../../../../controller/domain/lease.js';
import { planAddress, refuseAddress } from '../../../../controller/domain/address-plan.js';
import { judgeStart, wireClaimsOf, type GateFacts, type Rival } from '../../../../controller/domain/start-gate.js';
import type { Vm } from '../../../../controller/domain/vm.js';
import { ipv4FromNumber, parseIpv4 } from '../../../../shared/domain/ipv4.js';
import { macFromNumber, parseMac } from '../../../../shared/domain/mac.js';
import { imageVm } from '../../../fakes/fake-agent.js';

const NOW = 1_000;
const owner = (vmId: number): LeaseOwner => ({ kind: 'vif', vmId, vifIndex: 0 });
const describeOwner = (of: LeaseOwner): string => (of.kind === 'name' ? of.name : `vm${of.vmId}#0`);

function seen(id: number, mac: number | undefined, address: number | undefined, mayBeOnWire: boolean): SeenVif {
  return {
    owner: ownerKey(owner(id)),
    label: `vm${id}#0`,
    mac: mac === undefined ? undefined : macFromNumber(mac),
    address: address === undefined ? undefined : ipv4FromNumber(address),
    mayBeOnWire,
  };
}

function known(of: LeaseOwner, mac: number, address: number, state: LeaseState, endsAtMs = NOW + 1): KnownLease {
  return { owner: of, mac: macFromNumber(mac), address: ipv4FromNumber(address), state, endsAtMs };
}

const find = (vifs: SeenVif[], leases: KnownLease[] = []) => findConflicts({ vifs, leases, describeOwner }, NOW);

await t.test('findConflicts', async (t) => {
  const cases: { name: string; vifs: SeenVif[]; leases?: KnownLease[]; want: unknown[] }[] = [
    { name: 'nothing', vifs: [], want: [] },
    {
      name: 'no MAC is no shared one',
      vifs: [seen(1, undefined, undefined, true), seen(2, undefined, undefined, true)],
      want: [],
    },
    {
      name: 'stopped copies are no harm yet',
      vifs: [seen(2, 7, undefined, true), seen(1, 7, undefined, false)],
      want: [{ kind: 'mac', parties: ['vm1#0', 'vm2#0'], isActive: false }],
    },
    {
      name: 'running ones are, and come first',
      vifs: [seen(1, 1, 9, true), seen(2, 2, 9, true), seen(3, 0, undefined, true), seen(4, 0, undefined, false)],
      want: [
        { kind: 'address', value: '0.0.0.9', isActive: true },
        { kind: 'mac', isActive: false },
      ],
    },
    {
      name: "somebody else's lease",
      vifs: [seen(1, 1, undefined, true), seen(2, 5, 9, true)],
      leases: [known(owner(1), 3, 9, 'bound')],
      want: [{ kind: 'lease', value: '0.0.0.9', parties: ['vm1#0', 'vm2#0'], isActive: true }],
    },
    {
      name: "a free name's lease",
      vifs: [seen(2, 3, undefined, true)],
      leases: [known({ kind: 'name', name: 'printer' }, 3, 9, 'bound')],
      want: [{ kind: 'lease', value: '00:00:00:00:00:03', parties: ['printer', 'vm2#0'], isActive: true }],
    },
    {
      name: 'what rests is nobody’s',
      vifs: [seen(2, 3, 9, true)],
      leases: [known(owner(1), 3, 9, 'quarantined')],
      want: [],
    },
    { name: 'its own lease', vifs: [seen(1, 3, 9, true)], leases: [known(owner(1), 3, 9, 'bound')], want: [] },
    {
      name: 'its own lease, expired',
      vifs: [seen(1, 3, 9, true)],
      leases: [known(owner(1), 3, 9, 'expired')],
      want: [{ kind: 'expired', value: '0.0.0.9', parties: ['vm1#0'], isActive: true }],
    },
    { name: 'expired and stopped', vifs: [seen(1, 3, 9, false)], leases: [known(owner(1), 3, 9, 'expired')], want: [] },
    {
      name: 'a reservation that is over and was not swept yet',
      vifs: [seen(1, 3, 9, true)],
      leases: [known(owner(1), 3, 9, 'bound', NOW)],
      want: [{ kind: 'expired' }],
    },
    {
      name: 'released, and runs on it all the same',
      vifs: [seen(1, 3, 8, true)],
      leases: [known(owner(1), 3, 9, 'quarantined')],
      want: [{ kind: 'expired' }],
    },
    {
      name: 'released, and has another one since',
      vifs: [seen(1, 4, 8, true)],
      leases: [known(owner(1), 3, 9, 'quarantined')],
      want: [],
    },
  ];
  for (const { name, vifs, leases, want } of cases) {
    const found = find(vifs, leases);
    t.match(found, want, name);
    t.equal(found.length, want.length, name);
  }

  const small = fc.option(fc.integer({ min: 1, max: 4 }), { nil: undefined });
  const vif = fc.tuple(small, small, fc.boolean());
  const lease = fc.tuple(fc.nat({ max: 6 }), fc.nat({ max: 5 }), fc.constantFrom(...LEASE_STATES), fc.boolean());
  const facts = fc.tuple(
    fc.array(vif, { maxLength: 6 }),
    fc.uniqueArray(lease, { selector: ([, value]) => value, maxLength: 4 }),
  );
  const build = ([vifs, leases]: [unknown[], unknown[]]): ConflictFacts => ({
    vifs: (vifs as [number | undefined, number | undefined, boolean][]).map((one, n) => seen(n, ...one)),
    leases: (leases as [number, number, LeaseState, boolean][]).map(([id, value, state, isOver]) =>
      known(owner(id), value, value, state, isOver ? NOW : NOW + 1),
    ),
    describeOwner,
  });

  await t.test('it says what comparing everybody with everybody says', (t) => {
    fc.assert(
      fc.property(facts, (raw) => {
        const all = build(raw);
        const names = findConflicts(all, NOW).map(
          ({ kind, parties, isActive }) => `${kind} ${parties.join()} ${isActive}`,
        );
        t.same(names.sort(), bruteForce(all).sort());
      }),
    );
    t.end();
  });

  await t.test('order does not matter, and a fleet without shared values has none', (t) => {
    fc.assert(
      fc.property(facts, (raw) => {
        const { vifs, leases } = build(raw);
        const turned = { vifs: [...vifs].reverse(), leases: [...leases].reverse(), describeOwner };
        t.same(findConflicts(turned, NOW), findConflicts({ vifs, leases, describeOwner }, NOW));
      }),
    );
    const vifs = Array.from({ length: 16_000 }, (_, n) => seen(n, n + 1, n + 1, true));
    t.same(
      find(
        vifs,
        vifs.map((_, n) => known(owner(n), n + 1, n + 1, 'bound')),
      ),
      [],
    );
    t.end();
  });
});

/** The definition, without any index. */
function bruteForce({ vifs, leases }: ConflictFacts): string[] {
  const found: string[] = [];
  const show = (kind: string, parties: readonly string[], active: boolean) =>
    found.push(`${kind} ${parties.join()} ${active}`);
  for (const field of ['mac', 'address'] as const) {
    for (const value of [0, 1, 2, 3, 4, 5]) {
      const users = vifs.filter((vif) => vif[field] === value);
      const running = users.filter(({ mayBeOnWire }) => mayBeOnWire).length;
      if (users.length > 1) show(field, users.map(({ label }) => label).sort(), running > 1);
      for (const lease of leases.filter((one) => one[field] === value)) {
        if (lease.state === 'quarantined' || lease.state === 'declined') continue;
        if (users.length === 0 || users.some((vif) => vif.owner === ownerKey(lease.owner))) continue;
        const holder = vifs.find((vif) => vif.owner === ownerKey(lease.owner));
        const live = running + (holder?.mayBeOnWire ? 1 : 0);
        show('lease', [describeOwner(lease.owner), ...users.map(({ label }) => label).sort()], live > 1);
      }
    }
  }
  for (const lease of leases) {
    const vif = vifs.find((one) => one.owner === ownerKey(lease.owner));
    if (!vif?.mayBeOnWire) continue;
    const isOver = (lease.state === 'pending' || lease.state === 'bound') && lease.endsAtMs <= NOW;
    const rests = lease.state === 'quarantined' && (vif.mac === lease.mac || vif.address === lease.address);
    if (lease.state === 'expired' || isOver || rests) show('expired', [vif.label], true);
  }
  return found;
}

const MAC = parseMac('00:16:3e:84:08:01');
const ADDRESS = parseIpv4('10.132.8.1');
const vifOf = (change = {}) => ({ index: 0, mac: MAC, bridge: 'br0', guestAddress: ADDRESS, ...change });
const vmOf = (change: Partial<Vm> = {}): Vm => ({
  ...{ ...imageVm({ vifs: [vifOf()] }), id: 1, hostId: 1, observedAtMs: 0, isGone: false },
  ...change,
});
const leaseOf = (change: Partial<Lease> = {}): Lease => ({
  ...{ id: 1, reservationId: 1, address: ADDRESS, mac: MAC, owner: owner(1), state: 'bound', revision: 1 },
  ...{ createdAtMs: 0, changedAtMs: 0, expiresAtMs: undefined },
  ...change,
});

await t.test('judgeStart', (t) => {
  const reservations = new Map([
    [1, { name: 'now', startsAtMs: 0, endsAtMs: NOW + 1 }],
    [2, { name: 'later', startsAtMs: NOW + 1, endsAtMs: NOW + 2 }],
    [3, { name: 'past', startsAtMs: 0, endsAtMs: NOW }],
  ]);
  const rival = (how: Rival['how']): Rival => ({ claim: { kind: 'mac', vifIndex: 0, mac: MAC }, how, by: 'x' });
  const cases: { name: string; facts: Partial<GateFacts>; want: string[]; warnings?: number }[] = [
    { name: 'a bound lease of a present reservation', facts: {}, want: [] },
    { name: 'no lease', facts: { leases: [] }, want: [], warnings: 1 },
    { name: 'a MAC that is live elsewhere', facts: { rivals: [rival('live')] }, want: ['rival'] },
    { name: 'two reasons', facts: { rivals: [rival('starting'), rival('bound')] }, want: ['rival', 'rival'] },
    { name: 'over', facts: { leases: [leaseOf({ reservationId: 3 })] }, want: ['reservation-over'] },
    { name: 'upcoming', facts: { leases: [leaseOf({ reservationId: 2 })] }, want: ['reservation-upcoming'] },
    {
      name: 'a reservation that was deleted',
      facts: { leases: [leaseOf({ reservationId: 9 })] },
      want: ['reservation-over'],
    },
    { name: 'expired', facts: { leases: [leaseOf({ state: 'expired' })] }, want: ['lease-ended'], warnings: 1 },
    { name: 'released', facts: { leases: [leaseOf({ state: 'quarantined' })] }, want: ['lease-ended'], warnings: 1 },
    { name: 'declined', facts: { leases: [leaseOf({ state: 'declined' })] }, want: ['lease-ended'], warnings: 1 },
    {
      name: 'expired, with another MAC in the cfg and nothing new',
      facts: { leases: [leaseOf({ state: 'expired', mac: macFromNumber(5), address: ipv4FromNumber(5) })] },
      want: ['lease-ended'],
      warnings: 1,
    },
    {
      name: 'expired long ago, addressed anew since',
      facts: {
        leases: [leaseOf(), leaseOf({ id: 2, state: 'expired', mac: macFromNumber(5), address: ipv4FromNumber(5) })],
      },
      want: [],
    },
    {
      name: 'a cfg without its MAC',
      facts: { vm: vmOf({ vifs: [vifOf({ mac: undefined })] }) },
      want: [],
      warnings: 1,
    },
    {
      name: 'one MAC on two vifs, of which one has no lease',
      facts: { vm: vmOf({ vifs: [vifOf(), vifOf({ index: 1 })] }) },
      want: [],
      warnings: 2,
    },
  ];
  for (const { name, facts, want, warnings } of cases) {
    const verdict = judgeStart({ vm: vmOf(), leases: [leaseOf()], rivals: [], reservations, ...facts }, NOW);
    t.same(
      verdict.objections.map(({ reason }) => reason),
      want,
      name,
    );
    t.equal(verdict.warnings.length, warnings ?? 0, name);
  }
  t.same(
    wireClaimsOf(vmOf({ vifs: [vifOf({ guestAddress: parseIpv4('10.0.0.1') })] }), [leaseOf()]).map(({ kind }) => kind),
    ['mac', 'address', 'address'],
    'what the guest has, and what it may get by DHCP',
  );
  t.end();
});

await t.test('planAddress', (t) => {
  const facts = (change: Partial<Vm> = {}, isReachable = true) => ({
    vm: vmOf(change),
    host: 'h',
    isReachable,
    held: [leaseOf()],
  });
  const refusals = [
    { change: {}, want: undefined },
    { change: { isGone: true }, want: 'not_found' },
    { change: { problem: 'p' }, want: 'wrong_state' },
    { change: { cfgPath: undefined }, want: 'wrong_state' },
    { change: { vifs: [] }, want: 'wrong_state' },
    { change: { state: 'crashed' as const }, want: 'wrong_state' },
    { change: { state: 'unknown' as const }, want: 'wrong_state' },
  ];
  for (const { change, want } of refusals) t.equal(refuseAddress(facts(change))?.code, want, JSON.stringify(change));
  t.equal(refuseAddress(facts({}, false))?.code, 'unavailable');
  const plan = planAddress([facts(), facts({ isGone: true })], { reservation: 'job-1', address: undefined });
  t.same(
    plan.steps.map(({ action, detail }) => `${action} ${detail}`),
    [
      'keep lease vif 0: 10.132.8.1 of job-1',
      'write cfg vif 0: MAC 00:16:3e:84:08:01 -> 00:16:3e:84:08:01',
      'write guest vif 0: 10.132.8.1 -> 10.132.8.1',
      'bind lease vif 0',
    ],
  );
  t.equal(plan.warnings.length, 1);
  const chosen = planAddress([{ ...facts(), held: [] }], { reservation: 'job-1', address: parseIpv4('10.132.8.2') });
  t.match(chosen.steps[0], { action: 'take lease', detail: 'vif 0: 10.132.8.2 of job-1' });
  const two = { vifs: [vifOf(), vifOf({ index: 1 })] };
  t.throws(() => planAddress([facts(two)], { reservation: 'r', address: ADDRESS }), { code: 'invalid' });
  t.end();
});
