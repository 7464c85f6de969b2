import fc from 'fast-check';
import t from 'tap';
import { closestNames, editDistance } from '../../../../controller/domain/closest-name.js';
import { refuseHello, type Hello } from '../../../../controller/domain/hello.js';
import type { Host } from '../../../../controller/domain/host.js';
import { hostStateOf } from '../../../../controller/domain/host-state.js';
import { diffChange, diffFullState, isSameObservation, newsOf } from '../../../../controller/domain/observation.js';
import { checkProtocol } from '../../../../controller/domain/protocol.js';
import type { Vm } from '../../../../controller/domain/vm.js';
import { selectVm, selectVms, type SelectableVm, type VmDirectory } from '../../../../controller/domain/vm-selector.js';
import { parseIpv4 } from '../../../../shared/domain/ipv4.js';
import { AppError } from '../../../../shared/errors.js';
import { imageVm } from '../../../fakes/fake-agent.js';

/** What was thrown. */
function thrown(act: () => unknown): AppError {
  try {
    act();
  } catch (error) {
    if (error instanceof AppError) return error;
  }
  throw new Error('no AppError was thrown');
}

await t.test('checkProtocol', async (t) => {
  const cases = [
    { ours: '1.3', theirs: '1.3', upgrade: undefined },
    { ours: '1.3', theirs: '1.2', upgrade: undefined },
    { ours: '1.3', theirs: '1.4', upgrade: undefined },
    { ours: '1.3', theirs: '1.1', upgrade: 'agent' },
    { ours: '1.3', theirs: '1.5', upgrade: 'controller' },
    { ours: '2.0', theirs: '1.9', upgrade: 'agent' },
    { ours: '1.9', theirs: '2.0', upgrade: 'controller' },
  ];
  const version = (text: string) => ({ major: Number(text.split('.')[0]), minor: Number(text.split('.')[1]) });
  for (const { ours, theirs, upgrade } of cases) {
    await t.test(`${ours} with ${theirs}`, (t) => {
      const check = () => checkProtocol(version(ours), version(theirs), 'agent');
      if (upgrade === undefined) t.doesNotThrow(check);
      else t.match(thrown(check), { code: 'wrong_state', details: { upgrade, hint: `upgrade the ${upgrade}` } });
      t.end();
    });
  }
});

await t.test('hostStateOf', (t) => {
  const now = 1_000_000;
  const cases = [
    { name: 'just heard', want: 'online', word: now, seen: now, started: 0, revoked: undefined },
    { name: 'at the edge of silence', want: 'online', word: now - 29_999, seen: 0, started: 0, revoked: undefined },
    { name: 'silent', want: 'lost', word: now - 30_000, seen: 0, started: 0, revoked: undefined },
    {
      name: 'silent, young controller',
      want: 'awaited',
      word: now - 30_000,
      seen: 0,
      started: now - 299_999,
      revoked: undefined,
    },
    { name: 'grown-up controller', want: 'lost', word: undefined, seen: 0, started: now - 300_000, revoked: undefined },
    { name: 'of a former life', want: 'awaited', word: undefined, seen: 0, started: now, revoked: undefined },
    { name: 'never came', want: 'joined', word: undefined, seen: undefined, started: 0, revoked: undefined },
    { name: 'revoked though heard', want: 'revoked', word: now, seen: now, started: 0, revoked: 5 },
  ];
  for (const { name, want, word, seen, started, revoked } of cases) {
    const host = { revokedAtMs: revoked, lastSeenAtMs: seen };
    const times = { lastWordAtMs: word, controllerStartedAtMs: started, lostAfterMs: 30_000, graceMs: 300_000 };
    t.equal(hostStateOf(host, { ...times, isOpening: false }, now), want, name);
    const opening = want === 'lost' ? 'awaited' : want;
    t.equal(hostStateOf(host, { ...times, isOpening: true }, now), opening, `${name}, opening a session`);
  }
  t.end();
});

await t.test('refuseHello', (t) => {
  const host = { name: 'h', deploymentId: 'd', sessionCounter: 4, revokedAtMs: undefined } as Host;
  const hello = { protocol: { major: 1, minor: 0 }, deploymentId: 'd', sessionCounter: 5 } as Hello;
  const ask = (change: Partial<Hello>, of: Partial<Host> = {}) =>
    refuseHello({ ...host, ...of }, { ...hello, ...change }, { major: 1, minor: 0 })?.code;
  t.equal(ask({}), undefined);
  t.equal(ask({ sessionCounter: 4 }), 'wrong_state', 'a counter that stands still is a restored image');
  t.equal(ask({ deploymentId: 'e' }), 'wrong_state');
  t.equal(ask({ protocol: { major: 1, minor: 2 } }), 'wrong_state');
  t.equal(ask({}, { revokedAtMs: 1 }), 'unauthenticated');
  t.end();
});

await t.test('observation', async (t) => {
  const kept = (change = {}): Vm => ({ ...imageVm(), id: 1, hostId: 1, observedAtMs: 0, isGone: false, ...change });

  await t.test('every field counts', (t) => {
    const vif = imageVm().vifs[0]!;
    const changes = [
      ...[
        { key: 'x' },
        { name: 'x' },
        { cfgPath: undefined },
        { uuid: 'u' },
        { state: 'paused' as const },
        { vcpus: 2 },
      ],
      ...[
        { memoryMib: 1 },
        { problem: 'p' },
        { vifs: [] },
        { hostKeys: ['ssh-rsa AA=='] },
        { vifs: [{ ...vif, index: 1 }] },
      ],
      ...[{ vifs: [{ ...vif, mac: undefined }] }, { vifs: [{ ...vif, bridge: 'br1' }] }],
      { vifs: [{ ...vif, guestAddress: parseIpv4('10.0.0.1') }] },
    ];
    t.equal(isSameObservation(imageVm(), imageVm()), true);
    for (const change of changes) t.equal(isSameObservation(imageVm(), imageVm(change)), false, JSON.stringify(change));
    t.end();
  });

  await t.test('a full state applied once has no news left', (t) => {
    const vm = fc.record({ key: fc.constantFrom('a', 'b', 'c', 'd'), state: fc.constantFrom('running', 'stopped') });
    const states = fc.uniqueArray(vm, { selector: ({ key }) => key });
    fc.assert(
      fc.property(states, states, (before, after) => {
        const known = before.map((one, n) => kept({ ...one, id: n + 1 }));
        const reported = after.map((one) => imageVm(one as Partial<Vm>));
        const { changed, gone } = diffFullState(known, reported);
        const rest = known.filter(({ key }) => !gone.some((one) => one.key === key));
        const next = new Map([...rest, ...changed.map((one) => kept(one))].map((one) => [one.key, one]));
        t.same([...next.keys()].sort(), reported.map(({ key }) => key).sort());
        const again = diffFullState([...next.values()], reported);
        return again.changed.length === 0 && again.gone.length === 0;
      }),
    );
    t.end();
  });

  await t.test('one that is gone and comes back is news, one that goes twice is not', (t) => {
    const gone = kept({ isGone: true });
    t.equal(diffChange(() => gone, [imageVm()], []).changed.length, 1);
    t.equal(diffChange(() => gone, [], [gone.key]).gone.length, 0);
    t.match(newsOf(gone, imageVm()), [{ kind: 'vm.appeared' }]);
    t.match(newsOf(kept(), imageVm({ name: 'other' })), [{ kind: 'vm.changed' }]);
    t.same(newsOf(kept(), imageVm({ memoryMib: 1, problem: 'p' })), []);
    t.end();
  });
});

await t.test('selectVms', async (t) => {
  const vm = (id: number, name: string, host: string, isGone = false): SelectableVm => ({ id, name, host, isGone });
  const vms = [
    vm(1, 'domU', 'dom0-1.lille.grid5000.fr'),
    vm(2, 'domU', 'dom0-2.lille.grid5000.fr'),
    vm(3, 'web', 'dom0-1.lille.grid5000.fr'),
    vm(4, 'web', 'dom0-2.lille.grid5000.fr', true),
    vm(5, 'twin', 'a'),
    vm(6, 'twin', 'a'),
    vm(7, 'past', 'a', true),
    vm(8, '12', 'a'),
    vm(9, 'odd@name', 'a'),
    vm(10, 'x[1]*y', 'a'),
  ];
  const directory: VmDirectory<SelectableVm> = {
    byId: (id) => vms.find((one) => one.id === id),
    byName: (name) => vms.filter((one) => one.name === name),
    all: () => vms.filter(({ isGone }) => !isGone),
  };
  const select = (...names: string[]) => selectVms({ names, all: false }, directory).map(({ id }) => id);
  const found = [
    { names: ['web'], want: [3], why: 'one that is gone has no say' },
    { names: ['domU@dom0-2.lille.grid5000.fr'], want: [2] },
    { names: ['domU@dom0-2'], want: [2], why: 'the first label of a host will do' },
    { names: ['web', '3', 'web@dom0-1'], want: [3], why: 'each once' },
    { names: ['6', 'web'], want: [6, 3], why: 'in the order given' },
    { names: ['past'], want: [7], why: 'gone, but nobody else is meant' },
    { names: ['12'], want: [8], why: 'no such id: a name' },
    { names: ['odd@name'], want: [9] },
    { names: ['domU@dom0-[1-2]'], want: [1, 2], why: 'brackets are names told one by one' },
    { names: ['[5-6]'], want: [5, 6], why: 'ids too' },
    { names: ['*@dom0-1'], want: [1, 3], why: 'all of a host' },
    { names: ['dom*'], want: [1, 2], why: 'a star may mean several of one name' },
    { names: ['web*'], want: [3], why: 'but none that is gone' },
    { names: ['w*b@dom0-*.lille.*', 'web'], want: [3] },
    { names: ['odd*'], want: [9], why: 'an @ in a name' },
    { names: ['odd@*'], want: [9], why: 'and in a pattern' },
    { names: ['x[1]*y'], want: [10], why: 'a name that looks like a pattern is a name first' },
    { names: ['*'], want: [1, 2, 3, 5, 6, 8, 9, 10] },
  ];
  for (const { names, want, why } of found) t.same(select(...names), want, why ?? names.join());
  t.equal(selectVms({ names: [], all: true }, directory).length, 8);

  const refused = [
    {
      names: ['domU'],
      code: 'invalid',
      details: { candidates: 'domU@dom0-1.lille.grid5000.fr domU@dom0-2.lille.grid5000.fr' },
    },
    { names: ['twin@a'], code: 'invalid', details: { candidates: 'twin@a (id 5) twin@a (id 6)', hint: 'give the id' } },
    { names: ['wep'], code: 'not_found', details: { hint: 'did you mean web?' } },
    { names: ['zzzzzzzzz'], code: 'not_found', details: { hint: 'see domherd vm list' } },
    { names: ['web@dom0-9'], code: 'not_found' },
    { names: [], code: 'invalid' },
    { names: ['domU@dom0-[1-4]'], code: 'not_found', details: { missing: 'domU@dom0-3 domU@dom0-4' } },
    { names: ['web', 'nope-*'], code: 'not_found', message: /"nope-\*" matches no VM/ },
    { names: ['nope-[1-3]'], code: 'not_found', message: /"nope-\[1-3\]" matches no VM/ },
    { names: ['dom[U'], code: 'invalid', message: /without its other half/ },
    { names: ['d-[1-999999999]'], code: 'invalid', message: /999999999 names/ },
    { names: ['*'.repeat(513)], code: 'invalid' },
  ];
  for (const { names, ...want } of refused)
    t.match(
      thrown(() => select(...names)),
      want,
      names.join(),
    );
  t.equal(thrown(() => selectVms({ names: ['web'], all: true }, directory)).code, 'invalid');
  t.equal(selectVm('w*', directory).id, 3, 'one that matches is one');
  t.match(
    thrown(() => selectVm('domU@*', directory)),
    { code: 'invalid', message: /matches 2 VMs, and one is wanted/, details: { candidates: /domU@dom0-1/ } },
  );

  await t.test('the closest names', (t) => {
    t.equal(editDistance('kitten', 'sitting'), 3);
    t.equal(editDistance('', 'abc'), 3);
    fc.assert(
      fc.property(fc.string({ maxLength: 8 }), fc.string({ maxLength: 8 }), (a, b) => {
        const distance = editDistance(a, b);
        return distance === editDistance(b, a) && (distance === 0) === (a === b);
      }),
    );
    t.same(closestNames('web1', ['web2', 'db', 'web', 'web12', 'w', 'web2']), ['web', 'web12', 'web2']);
    t.end();
  });
});
