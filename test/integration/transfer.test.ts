import { randomBytes } from 'node:crypto';
import { truncateSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import t from 'tap';
import { writePieces } from '../../agent/adapters/disk/write-pieces.js';
import type { IncomingTransfer } from '../../agent/ports/transfer-link.js';
import { MAX_PIECE_BYTES, type FilePiece, type TransferHead } from '../../shared/domain/transfer.js';
import { AppError } from '../../shared/errors.js';
import { piecesOf } from '../../shared/transfer/file-pieces.js';
import { NoisePieces, openTransferRig, sha256Of } from '../harness/transfer-rig.js';

const NEVER = new AbortController().signal;
const MIB = 1024 * 1024;

function headOf(sizeBytes: number): TransferHead {
  return { files: [{ name: '/srv/disk.img', sizeBytes, usedBytes: sizeBytes }], cfgText: undefined };
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => 'done',
    (error: unknown) => (error instanceof AppError ? error.code : String(error)),
  );
}

async function readAll(incoming: IncomingTransfer): Promise<number> {
  let bytes = 0;
  for await (const piece of incoming.pieces) bytes += piece.bytes.length;
  return bytes;
}

/** Until it has stood still for a while: whoever may go on would have. */
async function settled(count: () => number): Promise<number> {
  for (let before = -1; ;) {
    const now = count();
    if (now === before) return now;
    before = now;
    await sleep(300);
  }
}

t.test('a transfer', async (t) => {
  const rig = await openTransferRig(t);
  const [sender, receiver, other] = await Promise.all(['dom0-1', 'dom0-2', 'dom0-3'].map(rig.linkOf));
  if (!sender || !receiver || !other) throw new Error('three links were asked for');
  const openings = () => rig.hub.open('dom0-1', 'dom0-2');

  t.test('makes the same file there, holes left out', async (t) => {
    const folder = t.testdir();
    const [from, to] = [join(folder, 'from.img'), join(folder, 'to.img')];
    writeFileSync(
      from,
      Buffer.concat([randomBytes(700_000), Buffer.alloc(3 * MIB), Buffer.from('text '.repeat(99_999))]),
    );
    truncateSync(from, 9 * MIB + 17);
    const head = { ...headOf(9 * MIB + 17), cfgText: "name = 'Gr\xf6\xdfe'\n" };
    const { id } = openings();
    const sent = sender.send(id, head, piecesOf(from, 0, NEVER), NEVER);
    const incoming = await receiver.receive(id, NEVER);
    t.strictSame(incoming.head, head, 'what comes is told before');
    const file = await open(to, 'wx');
    let bytes = 0;
    for await (const piece of incoming.pieces) {
      await file.write(piece.bytes, 0, piece.bytes.length, piece.offsetBytes);
      bytes += piece.bytes.length;
    }
    await file.truncate(head.files[0]!.sizeBytes);
    await file.close();
    await sent;
    t.equal(sha256Of(to), sha256Of(from));
    t.ok(bytes < 2 * MIB, `${String(bytes)} bytes went`);
  });

  t.test('zeros, however long they are, do not stand still', async (t) => {
    const folder = t.testdir();
    const [from, to] = [join(folder, 'from.img'), join(folder, 'to.img')];
    writeFileSync(from, randomBytes(1000));
    truncateSync(from, 5 * MIB + 17);
    const { id } = openings();
    const sent = sender.send(id, headOf(5 * MIB + 17), piecesOf(from, 0, NEVER, MIB), NEVER);
    const incoming = await receiver.receive(id, NEVER);
    const offsets: number[] = [];
    async function* counted(): AsyncGenerator<FilePiece> {
      for await (const piece of incoming.pieces) {
        offsets.push(piece.offsetBytes);
        yield piece;
      }
    }
    writeFileSync(to, '');
    truncateSync(to, 5 * MIB + 17);
    await writePieces(to, counted(), NEVER);
    await sent;
    t.strictSame(offsets, [0, 1.25 * MIB, 2.5 * MIB, 3.75 * MIB, 5 * MIB]);
    t.equal(sha256Of(to), sha256Of(from));
    truncateSync(from, 1024.25 * MIB + 1);
    let last: FilePiece | undefined;
    for await (const piece of piecesOf(from, 0, NEVER)) last = piece;
    t.match(last, { offsetBytes: 1024.25 * MIB, bytes: { length: 1 } }, 'a GiB of them is too long');
  });

  t.test('a file of the controller goes the same way', async (t) => {
    const path = join(t.testdir(), 'image.raw');
    writeFileSync(path, randomBytes(MIB));
    const { id } = rig.hub.fromFile(path, 'dom0-2');
    const incoming = await receiver.receive(id, NEVER);
    t.match(incoming.head.files, [{ name: 'image.raw', sizeBytes: MIB }]);
    t.equal(await readAll(incoming), MIB);
    const missing = rig.hub.fromFile('/no/such/image', 'dom0-2');
    t.equal(await codeOf(receiver.receive(missing.id, NEVER)), 'not_found');
  });

  t.test('a sender waits for who reads, and little is in memory meanwhile', async (t) => {
    const noise = new NoisePieces(200);
    const { id } = openings();
    const sent = sender.send(id, headOf(noise.sizeBytes), noise, NEVER);
    const incoming = await receiver.receive(id, NEVER);
    const held = await settled(() => noise.given);
    t.ok(held < 60, `${String(held)} of 200 pieces left the sender while nobody read`);
    t.equal(await readAll(incoming), noise.sizeBytes);
    await sent;
  });

  t.test('its ends are for the hosts that it was opened for, each once', async (t) => {
    const { id } = openings();
    const noise = new NoisePieces(100);
    t.equal(await codeOf(other.receive(id, NEVER)), 'not_found', 'a stranger');
    t.equal(await codeOf(sender.receive(id, NEVER)), 'not_found', 'the wrong end');
    t.equal(await codeOf(other.send(id, headOf(1), noise, NEVER)), 'not_found');
    t.equal(await codeOf(receiver.send(id, headOf(1), noise, NEVER)), 'not_found');
    t.equal(await codeOf(sender.send('0'.repeat(32), headOf(1), noise, NEVER)), 'not_found', 'none');
    const sent = codeOf(sender.send(id, headOf(noise.sizeBytes), noise, NEVER));
    const incoming = await receiver.receive(id, NEVER);
    t.equal(await codeOf(receiver.receive(id, NEVER)), 'wrong_state');
    t.equal(await codeOf(sender.send(id, headOf(1), noise, NEVER)), 'wrong_state');
    await readAll(incoming);
    t.equal(await sent, 'done', 'nobody was disturbed');
    t.equal(await codeOf(receiver.receive(id, NEVER)), 'not_found', 'it is over');
  });

  t.test('an end that goes takes the other with it', async (t) => {
    const cases: Record<string, (go: AbortController, incoming: IncomingTransfer, close: () => void) => void> = {
      'the sender goes': (go) => go.abort(new AppError('unavailable', 'killed')),
      'the receiver leaves': (_, incoming) => incoming.close(),
      'the controller gives it up': (_, __, close) => close(),
      'the certificate is revoked': () => rig.calls.endStreams(new AppError('unauthenticated', 'revoked')),
    };
    for (const [name, act] of Object.entries(cases)) {
      const noise = new NoisePieces(10_000);
      const go = new AbortController();
      const opened = openings();
      const { id } = opened;
      const sent = codeOf(sender.send(id, headOf(noise.sizeBytes), noise, go.signal));
      const incoming = await receiver.receive(id, NEVER);
      const iterator = incoming.pieces[Symbol.asyncIterator]();
      await iterator.next();
      const rest = codeOf(
        (async () => {
          for (;;) if ((await iterator.next()).done === true) return;
        })(),
      );
      act(go, incoming, () => opened.close());
      t.not(await sent, 'done', `${name}: the sender`);
      t.not(await rest, 'done', `${name}: the receiver`);
      t.equal(await codeOf(other.receive(id, NEVER)), 'not_found', `${name}: nothing is left`);
    }
  });

  t.test('what the receiver refuses, the sender does not send', async (t) => {
    const noise = new NoisePieces(10_000);
    const opened = openings();
    const { id } = opened;
    const sent = sender.send(id, headOf(noise.sizeBytes), noise, NEVER);
    const incoming = await receiver.receive(id, NEVER);
    incoming.close();
    opened.close(new AppError('exhausted', 'There is no room'));
    await t.rejects(sent, { name: 'AppError' });
    t.ok(noise.given < 100);
  });

  t.test('a sender whose disk cannot be read ends it for both', async (t) => {
    async function* broken(): AsyncGenerator<FilePiece> {
      yield { file: 0, offsetBytes: 0, bytes: randomBytes(10) };
      await sleep(1);
      throw new AppError('unavailable', 'I/O error');
    }
    const { id } = openings();
    const sent = sender.send(id, headOf(100), broken(), NEVER);
    sent.catch(() => undefined);
    const incoming = await receiver.receive(id, NEVER);
    await t.rejects(readAll(incoming), { code: 'unavailable' });
    await t.rejects(sent, { message: 'I/O error' });
  });

  t.test('pieces that are of no file are refused', async (t) => {
    for (const piece of [
      { file: 1, offsetBytes: 0, bytes: randomBytes(1) },
      { file: 0, offsetBytes: 100, bytes: randomBytes(1) },
      { file: 0, offsetBytes: 0, bytes: randomBytes(MAX_PIECE_BYTES + 1) },
    ]) {
      async function* one(): AsyncGenerator<FilePiece> {
        await Promise.resolve();
        yield piece;
      }
      const opened = openings();
      const { id } = opened;
      const sent = codeOf(sender.send(id, headOf(100), one(), NEVER));
      const incoming = await receiver.receive(id, NEVER);
      t.not(await codeOf(readAll(incoming)), 'done');
      opened.close();
      t.not(await sent, 'internal');
    }
  });

  t.test('an end that does not come, and one that is still, are ended by time', async (t) => {
    const alone = openings();
    const waiting = codeOf(receiver.receive(alone.id, NEVER));
    while (!(await codeOf(receiver.receive(alone.id, NEVER))).startsWith('wrong')) await sleep(10);
    await rig.timers.advance(300_000);
    t.equal(await waiting, 'timeout');
    const { id } = openings();
    const noise = new NoisePieces(10_000);
    const sent = codeOf(sender.send(id, headOf(noise.sizeBytes), noise, NEVER));
    await receiver.receive(id, NEVER);
    await settled(() => noise.given);
    await rig.timers.advance(300_000);
    t.equal(await sent, 'timeout');
    t.equal(rig.timers.count, 0, 'no timer is left');
  });

  t.test('a controller that dies ends both', async (t) => {
    const { id } = openings();
    const noise = new NoisePieces(10_000);
    const sent = codeOf(sender.send(id, headOf(noise.sizeBytes), noise, NEVER));
    const incoming = await receiver.receive(id, NEVER);
    await rig.kill();
    t.equal(await sent, 'unavailable');
    t.equal(await codeOf(readAll(incoming)), 'unavailable');
  });
});
