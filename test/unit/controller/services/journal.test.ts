import { pino } from 'pino';
import t from 'tap';
import { openMemoryDatabase } from '../../../../controller/adapters/sqlite/open-database.js';
import type { Event, NewEvent } from '../../../../controller/domain/event.js';
import type { Database, Tx } from '../../../../controller/ports/store.js';
import { EventLog } from '../../../../controller/services/event-log.js';
import { answerOnce } from '../../../../controller/services/idempotency.js';
import { Journal } from '../../../../controller/services/journal.js';
import { AppError, invalid } from '../../../../shared/errors.js';
import { callerOf } from '../../../harness/address-services.js';

const SILENT = pino({ level: 'silent' });

/** Counts transactions, and can be told to fail at COMMIT. */
class CountingDatabase implements Database {
  readonly inner = openMemoryDatabase();
  transactions = 0;
  commitError: AppError | undefined;

  write<T>(work: (tx: Tx) => T): T {
    this.transactions += 1;
    return this.inner.write((tx) => {
      const value = work(tx);
      if (this.commitError !== undefined) throw this.commitError;
      return value;
    });
  }

  read: Database['read'] = (work) => this.inner.read(work);
  close(): void {
    this.inner.close();
  }
}

function eventOf(message: string, kind = 'test.happened'): NewEvent {
  return { atMs: 1, kind, message, actor: 'admin:test' };
}

function storedMessages(journal: Journal): string[] {
  return journal.read((stores) => stores.events.list({}, 0, 1000).map(({ message }) => message));
}

t.test('Journal', (t) => {
  t.test('runs what is queued in one turn in one transaction', async (t) => {
    const database = new CountingDatabase();
    const journal = new Journal(database, SILENT);
    const answers = await Promise.all(
      [1, 2, 3].map((n) => journal.submit((tx) => tx.events.append(eventOf(String(n))).id)),
    );
    t.same(answers, [1, 2, 3]);
    t.equal(database.transactions, 1);
  });

  t.test('a request that throws undoes itself only', async (t) => {
    const journal = new Journal(openMemoryDatabase(), SILENT);
    const undone: string[] = [];
    const results = await Promise.allSettled([
      journal.submit((tx) => tx.events.append(eventOf('a'))),
      journal.submit((tx) => {
        tx.events.append(eventOf('b'));
        tx.onUndo(() => undone.push('b'));
        throw invalid('no');
      }),
      journal.submit((tx) => tx.events.append(eventOf('c'))),
    ]);
    t.same(
      results.map(({ status }) => status),
      ['fulfilled', 'rejected', 'fulfilled'],
    );
    t.match(results[1], { reason: { code: 'invalid' } });
    t.same(storedMessages(journal), ['a', 'c']);
    t.same(undone, ['b']);
  });

  t.test('a COMMIT that fails fails everyone, also who was refused for a reason of his own', async (t) => {
    const database = new CountingDatabase();
    const journal = new Journal(database, SILENT);
    database.commitError = new AppError('unavailable', 'the disk of the database is full');
    const refuse = (): never => {
      throw invalid('no');
    };
    const results = await Promise.allSettled([
      journal.submit((tx) => tx.events.append(eventOf('a'))),
      journal.submit(refuse),
    ]);
    t.match(results, [{ reason: { code: 'unavailable' } }, { reason: { code: 'unavailable' } }]);
    t.same(storedMessages(journal), []);
    database.commitError = undefined;
    await t.resolves(journal.submit((tx) => tx.events.append(eventOf('b'))));
  });

  t.test('bounds a batch', async (t) => {
    const database = new CountingDatabase();
    const journal = new Journal(database, SILENT);
    await Promise.all(Array.from({ length: 513 }, () => journal.submit(() => undefined)));
    t.equal(database.transactions, 2);
  });

  t.test('stop finishes what is queued and refuses the rest', async (t) => {
    const journal = new Journal(openMemoryDatabase(), SILENT);
    const queued = journal.submit((tx) => tx.events.append(eventOf('a')).message);
    await journal.stop();
    t.equal(await queued, 'a');
    await t.rejects(
      journal.submit(() => 1),
      { code: 'unavailable' },
    );
  });
  t.end();
});

t.test('answerOnce', async (t) => {
  const journal = new Journal(openMemoryDatabase(), SILENT);
  let runs = 0;
  const ask = (requestId: string | undefined, fingerprint = 'same', fails = false): Promise<{ run: number }> =>
    journal.submit((tx) =>
      answerOnce(tx, callerOf(requestId, fingerprint), 1, () => {
        runs += 1;
        if (fails) throw invalid('no');
        return { run: runs };
      }),
    );
  t.same(await ask('request-1'), { run: 1 });
  t.same(await ask('request-1'), { run: 1 }, 'the same id gets the same answer');
  t.same(await Promise.all([ask('request-2'), ask('request-2')]), [{ run: 2 }, { run: 2 }], 'within one batch too');
  t.same(await ask(undefined), { run: 3 });
  t.same(await ask(undefined), { run: 4 }, 'without an id each is a new one');
  await t.rejects(ask('request-1', 'other'), { code: 'invalid' }, 'the same id with another request');
  await t.rejects(ask('request-3', 'same', true), { code: 'invalid' });
  t.same(await ask('request-3'), { run: 6 }, 'a failure is not remembered');
});

t.test('EventLog', (t) => {
  async function take(stream: AsyncIterable<Event>, count: number): Promise<string[]> {
    const messages: string[] = [];
    for await (const event of stream) {
      messages.push(event.message);
      if (messages.length === count) break;
    }
    return messages;
  }
  function setUp(): { journal: Journal; events: EventLog; tell: (...all: string[]) => Promise<void> } {
    const journal = new Journal(openMemoryDatabase(), SILENT);
    const events = new EventLog({ journal });
    const tell = async (...all: string[]): Promise<void> => {
      await journal.submit((tx) => all.forEach((message) => events.record(tx, eventOf(message))));
    };
    return { journal, events, tell };
  }
  const { signal } = new AbortController();

  t.test('from now on: what was recorded since the call, even before the first read', async (t) => {
    const { events, tell } = setUp();
    await tell('old');
    const stream = events.subscribe({}, undefined, signal);
    await tell('a', 'b');
    t.same(await take(stream, 2), ['a', 'b']);
  });

  t.test('what is undone is never told', async (t) => {
    const { journal, events, tell } = setUp();
    const stream = events.subscribe({}, undefined, signal);
    const failing = journal.submit((tx) => {
      events.record(tx, eventOf('undone'));
      throw invalid('no');
    });
    await t.rejects(failing, { code: 'invalid' });
    await tell('a');
    t.same(await take(stream, 1), ['a']);
  });

  t.test('replays what is stored and goes on live, without gap or repeat', async (t) => {
    const { events, tell } = setUp();
    const numbers = Array.from({ length: 1200 }, (_, n) => String(n));
    await tell(...numbers);
    const seen: string[] = [];
    for await (const event of events.subscribe({}, 100, signal)) {
      seen.push(event.message);
      if (seen.length === 300) await tell('during replay');
      // Not awaited: it is committed while the stream waits.
      if (seen.length === 1101) void tell('live');
      if (seen.length === 1102) break;
    }
    t.same(seen, [...numbers.slice(100), 'during replay', 'live']);
  });

  t.test('filters alike in replay and live', async (t) => {
    const { journal, events } = setUp();
    const tell = (kind: string): Promise<Event> => journal.submit((tx) => events.record(tx, eventOf(kind, kind)));
    await tell('lease.bound');
    await tell('host.joined');
    await tell('lease.freed');
    const stream = events.subscribe({ kinds: ['lease.'] }, 1, signal);
    const taken = take(stream, 2);
    await tell('host.lost');
    await tell('lease.bound');
    t.same(await taken, ['lease.freed', 'lease.bound']);
  });

  t.test('cuts off a reader that is too slow, after all that it can still give', async (t) => {
    const { events, tell } = setUp();
    const stream = events.subscribe({}, undefined, signal);
    await tell(...Array.from({ length: 1001 }, (_, n) => String(n)));
    let seen = 0;
    const read = async (): Promise<void> => {
      for await (const event of stream) seen = event.id;
    };
    await t.rejects(read(), { code: 'exhausted', details: { lastEvent: '1000' } });
    t.equal(seen, 1000);
  });

  t.test('ends with its signal', async (t) => {
    const { events } = setUp();
    const abort = new AbortController();
    const reading = take(events.subscribe({}, undefined, abort.signal), 1);
    abort.abort();
    t.same(await reading, []);
    t.same(await take(events.subscribe({}, undefined, abort.signal), 1), [], 'also when it is over already');
  });

  t.test('refuses to resume after an event that is not there', async (t) => {
    const { events, tell } = setUp();
    await tell('a');
    t.throws(() => events.subscribe({}, 2, signal), { code: 'invalid' });
  });
  t.end();
});
