import { randomBytes } from 'node:crypto';
import t from 'tap';
import type { FilePiece, PackedPiece, TransferChunk } from '../../../../shared/domain/transfer.js';
import { pack, unpack } from '../../../../shared/transfer/pack.js';

const KIB = 1024;
const NOISE = randomBytes(64 * KIB);
const TEXT = Buffer.from('text '.repeat(10 * KIB));
const HEAD = { files: [{ name: '/srv/disk.img', sizeBytes: 256 * KIB, usedBytes: 256 * KIB }], cfgText: undefined };

async function* each<T>(all: readonly T[]): AsyncGenerator<T> {
  for (const one of all) yield await Promise.resolve(one);
}

async function packed(): Promise<readonly TransferChunk[]> {
  const pieces = [
    { file: 0, offsetBytes: 0, bytes: NOISE },
    { file: 0, offsetBytes: 128 * KIB, bytes: TEXT },
  ];
  const chunks: TransferChunk[] = [];
  for await (const chunk of pack('t', HEAD, each(pieces))) chunks.push(chunk);
  return chunks;
}

async function read(chunks: readonly TransferChunk[]): Promise<readonly FilePiece[]> {
  const pieces: FilePiece[] = [];
  for await (const piece of (await unpack(each(chunks))).pieces) pieces.push(piece);
  return pieces;
}

function changed(chunks: readonly TransferChunk[], change: (piece: PackedPiece) => PackedPiece): TransferChunk[] {
  return chunks.map((chunk) => (chunk.kind === 'piece' ? { kind: 'piece', piece: change(chunk.piece) } : chunk));
}

function flipped(data: Uint8Array): Buffer {
  const bytes = Buffer.from(data);
  const middle = bytes.length >> 1;
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  return bytes;
}

await t.test('what can be squeezed is, the rest is sent as it is, and all of it is there again', async (t) => {
  const chunks = await packed();
  t.strictSame(
    chunks.map(({ kind }) => kind),
    ['head', 'piece', 'piece', 'end'],
  );
  const pieces = chunks.flatMap((chunk) => (chunk.kind === 'piece' ? [chunk.piece] : []));
  t.strictSame(
    pieces.map(({ isPacked, sizeBytes }) => [isPacked, sizeBytes]),
    [
      [false, NOISE.length],
      [true, TEXT.length],
    ],
  );
  t.equal(pieces[0]?.data.length, NOISE.length);
  t.ok((pieces[1]?.data.length ?? TEXT.length) < TEXT.length / 10);
  const [noise, text] = await read(chunks);
  t.equal(NOISE.equals(noise?.bytes ?? Buffer.of()), true);
  t.equal(TEXT.equals(text?.bytes ?? Buffer.of()), true);
});

await t.test('what is not what was sent is refused', async (t) => {
  const chunks = await packed();
  const wrong = { code: 'invalid', message: /not what was sent/ };
  const onlyNoise = (change: (piece: PackedPiece) => PackedPiece): readonly TransferChunk[] =>
    changed(chunks, (piece) => (piece.isPacked ? piece : change(piece)));
  const onlyText = (change: (piece: PackedPiece) => PackedPiece): readonly TransferChunk[] =>
    changed(chunks, (piece) => (piece.isPacked ? change(piece) : piece));
  await t.rejects(read(onlyNoise((piece) => ({ ...piece, data: flipped(piece.data) }))), wrong, 'a bit');
  await t.rejects(
    read(onlyText((piece) => ({ ...piece, data: flipped(piece.data) }))),
    wrong,
    'a bit of what is packed',
  );
  await t.rejects(read(onlyNoise((piece) => ({ ...piece, offsetBytes: 64 * KIB }))), wrong, 'the place of a piece');
  await t.rejects(read(onlyText((piece) => ({ ...piece, sizeBytes: TEXT.length - 1 }))), wrong, 'more than was told');
  await t.rejects(read(onlyNoise((piece) => ({ ...piece, sizeBytes: 1 }))), wrong);
  await t.rejects(read(chunks.toSpliced(1, 1)), wrong, 'a piece is missing');
  await t.rejects(read(chunks.toSpliced(1, 0, ...chunks.slice(1, 2))), wrong, 'a piece came twice');
  await t.rejects(read(chunks.slice(0, -1)), { code: 'unavailable' }, 'its end');
  await t.rejects(read(chunks.slice(1)), { code: 'invalid' }, 'its head');
  await t.rejects(
    read(onlyNoise((piece) => ({ ...piece, file: 1 }))),
    { code: 'invalid' },
    'a file that was not told of',
  );
  await t.rejects(
    read(onlyNoise((piece) => ({ ...piece, offsetBytes: 200 * KIB }))),
    { code: 'invalid' },
    'past its end',
  );
});
