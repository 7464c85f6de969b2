import t from 'tap';
import type { ConsoleEvent, ConsoleSeat } from '../../../controller/services/console-hub.js';
import type { HostEnd } from '../../../controller/services/host-streams.js';
import { imageVm } from '../../fakes/fake-agent.js';
import { ADMIN, FleetWorld } from '../../fakes/fleet-world.js';
import { settle } from '../../fakes/manual-timer.js';

const NEVER = new AbortController().signal;
const RUNNING = [imageVm({ state: 'running' })];

interface Rig {
  readonly world: FleetWorld;
  /** The ids that hosts were told to dial with. */
  readonly asked: string[];
  readonly attach: (isWatching?: boolean, signal?: AbortSignal) => Promise<ConsoleSeat>;
  readonly dial: () => Promise<HostEnd>;
}

async function makeRig(): Promise<Rig> {
  const { world, agents } = await FleetWorld.ofImage(2, RUNNING);
  const asked: string[] = [];
  for (const agent of agents) {
    const { behave } = agent;
    agent.behave = (order, self) => {
      if (order.action.kind === 'openConsole') asked.push(order.action.consoleId);
      return behave(order, self);
    };
  }
  return {
    world,
    asked,
    attach: (isWatching = false, signal = NEVER) =>
      world.consoles.attach({ name: 'domU@dom0-1', isWatching }, ADMIN, signal),
    dial: async () => {
      await settle();
      return world.streams.claim('dom0-1', asked.at(-1) ?? '', 'a note');
    },
  };
}

/** What a seat is told, as it comes. */
function read(seat: ConsoleSeat): { readonly events: ConsoleEvent[]; readonly end: Promise<unknown> } {
  const events: ConsoleEvent[] = [];
  const reading = async (): Promise<void> => {
    for await (const event of seat.events()) events.push(event);
  };
  return { events, end: reading().catch((error: unknown) => error) };
}

function textOf(events: readonly ConsoleEvent[]): string {
  return events.map((event) => (event.kind === 'output' ? Buffer.from(event.bytes).toString() : '')).join('');
}

await t.test('who is attached', async (t) => {
  await t.test('a host opens a console once, for all; it closes it when nobody is there any more', async (t) => {
    const { world, asked, attach, dial } = await makeRig();
    const sitting = [attach(), attach(true)];
    const host = await dial();
    const [first, second] = await Promise.all(sitting);
    t.equal(asked.length, 1);
    t.throws(() => world.streams.claim('dom0-1', asked[0]!, ''), { code: 'not_found' }, 'good for one stream');
    const [a, b] = [read(first!), read(second!)];
    await host.push(Buffer.from('hello'));
    await settle();
    const writer = { actor: ADMIN.actor, isYou: true };
    const common = { kind: 'attached', vm: 'domU@dom0-1', isSimulated: true, note: 'a note' };
    t.strictSame(a.events[0], { ...common, writer });
    t.strictSame(b.events[0], { ...common, writer: { ...writer, isYou: false } });
    t.strictSame([textOf(a.events), textOf(b.events)], ['hello', 'hello']);
    const typed: string[] = [];
    const typing = (async () => {
      for await (const keys of host.typed) typed.push(Buffer.from(keys).toString());
    })();
    await first!.type(Buffer.from('ls'));
    await second!.type(Buffer.from('rm'));
    await settle();
    t.strictSame(typed, ['ls'], 'one writes');
    first!.leave();
    first!.leave();
    second!.leave();
    await Promise.all([typing, a.end, b.end]);
    t.equal(await host.push(Buffer.from('more')), false);
    const third = attach();
    await dial();
    await third;
    t.equal(asked.length, 2, 'opened anew');
  });

  await t.test('one who watches never writes; the next who would, does', async (t) => {
    const { attach, dial } = await makeRig();
    const watching = attach(true);
    await dial();
    const watcher = await watching;
    const [first, second] = [await attach(), await attach()];
    const [w, a, b] = [read(watcher), read(first), read(second)];
    await settle();
    t.match(w.events, [{ writer: { actor: undefined, isYou: false } }], 'nobody did');
    t.match(a.events, [{ writer: { isYou: true } }]);
    first.leave();
    await settle();
    t.match(b.events.at(-1), { kind: 'writer', writer: { actor: ADMIN.actor, isYou: true } });
    second.leave();
    await settle();
    t.match(w.events.at(-1), { kind: 'writer', writer: { actor: undefined, isYou: false } });
  });

  await t.test('one who reads too slowly is let go of; nobody waits for him', async (t) => {
    const { attach, dial } = await makeRig();
    const sitting = [attach(), attach()];
    const host = await dial();
    const [slow, fast] = await Promise.all(sitting);
    const { events } = read(fast!);
    const piece = Buffer.alloc(16 * 1024, 'x');
    for (let n = 0; n < 64; n += 1) await host.push(piece);
    await settle();
    t.equal(textOf(events).length, 64 * piece.length, 'the other got all');
    t.match(events.at(-2), { kind: 'output' });
    t.ok(
      events.some((event) => event.kind === 'writer' && event.writer.isYou),
      'and writes now',
    );
    t.match(await read(slow!).end, { code: 'exhausted', details: { hint: /--log/ } });
  });

  await t.test('a call that ends leaves, also while the host dials', async (t) => {
    const { world, attach, dial } = await makeRig();
    const call = new AbortController();
    const sitting = attach(false, call.signal);
    await settle();
    call.abort();
    const host = await dial();
    await t.rejects(sitting, { code: 'unavailable' });
    t.equal(await host.push(Buffer.from('x')), false, 'the host is told to close it');
    t.equal(world.allEvents('vm.console-attached').length, 0);
  });
});

await t.test('what a host does', async (t) => {
  await t.test('its end is told with the reason, after everything that it said', async (t) => {
    const { world, attach, dial } = await makeRig();
    const sitting = attach();
    const host = await dial();
    const { events, end } = read(await sitting);
    void host.push(Buffer.from('bye'));
    host.ended('the domain of domU has ended');
    await end;
    t.match(events.slice(1), [{ kind: 'output' }, { kind: 'ended', reason: 'the domain of domU has ended' }]);
    t.equal(world.allEvents('vm.console-attached').length, 1);
  });

  await t.test('a stream that is cut is no end of the domain', async (t) => {
    const { attach, dial } = await makeRig();
    const sitting = attach();
    const host = await dial();
    const { end } = read(await sitting);
    host.cut(Object.assign(new Error('gone'), { code: 'unavailable' }));
    t.match(await end, { code: 'unavailable' });
  });

  await t.test('another host cannot answer in its place', async (t) => {
    const { world, asked, attach, dial } = await makeRig();
    const sitting = attach();
    await settle();
    t.throws(() => world.streams.claim('dom0-2', asked[0]!, ''), { code: 'not_found' });
    t.throws(() => world.streams.claim('dom0-1', 'made-up', ''), { code: 'not_found' });
    await dial();
    await sitting;
  });

  await t.test('one that does not dial, or refuses, is told; the next one tries anew', async (t) => {
    const { world, attach, dial } = await makeRig();
    const late = attach();
    await settle();
    const rejected = t.rejects(late, { code: 'timeout' });
    await world.timers.advance(30_000);
    await rejected;
    const again = attach();
    await dial();
    t.ok(await again);
    const { agents, world: other } = await FleetWorld.ofImage(1, RUNNING).then((both) => both);
    agents[0]!.behave = () => ({
      ...{ kind: 'failed', code: 'wrong_state', message: 'domU has no console yet', details: {}, vm: undefined },
    });
    const request = { name: 'domU', isWatching: false };
    await t.rejects(other.consoles.attach(request, ADMIN, NEVER), { code: 'wrong_state' });
    agents[0]!.kill();
    await t.rejects(other.consoles.attach(request, ADMIN, NEVER), { code: 'unavailable' });
  });

  await t.test('one that types more than the guest takes waits', async (t) => {
    const { attach, dial } = await makeRig();
    const sitting = attach();
    const host = await dial();
    const seat = await sitting;
    let isTaken = false;
    const typing = seat.type(Buffer.alloc(64 * 1024)).then(() => (isTaken = true));
    await settle();
    t.equal(isTaken, false);
    await host.typed[Symbol.asyncIterator]().next();
    await typing;
    t.equal(isTaken, true);
  });

  await t.test('a log comes no faster than it is read, and ends with its call', async (t) => {
    const { world, dial } = await makeRig();
    const call = new AbortController();
    const tail = { lines: 10, isFollowed: true };
    const pieces: string[] = [];
    const reading = (async () => {
      for await (const piece of world.consoles.readLog('domU@dom0-1', tail, call.signal)) pieces.push(piece.toString());
    })();
    const host = await dial();
    await host.push(Buffer.from('one'));
    await settle();
    t.equal(pieces.length, 1);
    call.abort();
    await reading;
    t.equal(await host.push(Buffer.from('two')), false);
  });
});
