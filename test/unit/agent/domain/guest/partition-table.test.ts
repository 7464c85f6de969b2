import { crc32 as zlibCrc32 } from 'node:zlib';
import fc from 'fast-check';
import t from 'tap';
import { crc32 } from '../../../../../agent/domain/guest/crc32.js';
import {
  parseLogical,
  parsePartitionTable,
  planGrowth,
  type TableWrite,
} from '../../../../../agent/domain/guest/partition-table.js';
import { AppError } from '../../../../../shared/errors.js';

const SECTOR = 512;
const HEAD = 0x10080;

interface Piece {
  readonly first: number;
  readonly sectors: number;
}

function mbr(entries: readonly (Piece & { readonly type: number; readonly status?: number })[]): Buffer {
  const head = Buffer.alloc(HEAD);
  entries.forEach(({ first, sectors, type, status = 0 }, n) => {
    const at = 446 + n * 16;
    head.writeUInt8(status, at);
    head.writeUInt8(type, at + 4);
    head.writeUInt32LE(first, at + 8);
    head.writeUInt32LE(sectors, at + 12);
  });
  head.writeUInt16LE(0xaa55, 510);
  return head;
}

const LINUX = 'af3dc60f838472478e793d69d8477de4';
const ROOT = 'e3bc684fcde8b14d96e7fbcaf984b709';

/** By the letter of the specification, and by zlib's checksum. */
function gpt(diskSectors: number, pieces: readonly Piece[], types: readonly string[] = []): Buffer {
  const head = mbr([{ first: 1, sectors: diskSectors - 1, type: 0xee }]);
  pieces.forEach(({ first, sectors }, n) => {
    const at = 2 * SECTOR + n * 128;
    head.write(types[n] ?? LINUX, at, 'hex');
    head.write('00112233445566778899aabbccddeeff', at + 16, 'hex');
    head.writeBigUInt64LE(BigInt(first), at + 32);
    head.writeBigUInt64LE(BigInt(first + sectors - 1), at + 40);
  });
  head.write('EFI PART', SECTOR, 'latin1');
  head.writeUInt32LE(0x10000, SECTOR + 8);
  head.writeUInt32LE(92, SECTOR + 12);
  head.writeBigUInt64LE(1n, SECTOR + 24);
  head.writeBigUInt64LE(BigInt(diskSectors - 1), SECTOR + 32);
  head.writeBigUInt64LE(34n, SECTOR + 40);
  head.writeBigUInt64LE(BigInt(diskSectors - 34), SECTOR + 48);
  head.writeBigUInt64LE(2n, SECTOR + 72);
  head.writeUInt32LE(128, SECTOR + 80);
  head.writeUInt32LE(128, SECTOR + 84);
  return sealed(head);
}

function sealed(head: Buffer): Buffer {
  head.writeUInt32LE(zlibCrc32(head.subarray(2 * SECTOR, 34 * SECTOR)), SECTOR + 88);
  head.writeUInt32LE(0, SECTOR + 16);
  head.writeUInt32LE(zlibCrc32(head.subarray(SECTOR, SECTOR + 92)), SECTOR + 16);
  return head;
}

function applied(head: Uint8Array, writes: readonly TableWrite[]): Buffer {
  const after = Buffer.from(head);
  for (const { at, bytes } of writes) if (at + bytes.length <= after.length) after.set(bytes, at);
  return after;
}

/** Partitions one after the other on a disk of so many sectors. */
const disks = fc
  .array(fc.record({ gap: fc.nat(5_000), sectors: fc.integer({ min: 1, max: 100_000 }) }), {
    minLength: 1,
    maxLength: 8,
  })
  .chain((parts) => {
    let end = 34;
    const pieces = parts.map(({ gap, sectors }) => {
      const first = end + gap;
      end = first + sectors;
      return { first, sectors };
    });
    return fc.record({ pieces: fc.constant(pieces), diskSectors: fc.integer({ min: end + 34, max: end + 100_000 }) });
  });

const bytesOf = ({ first, sectors }: Piece) => ({ at: first * SECTOR, sizeBytes: sectors * SECTOR });
const places = (table: ReturnType<typeof parsePartitionTable>) =>
  table?.partitions.map(({ at, sizeBytes }) => ({ at, sizeBytes }));

t.test('a checksum is as others compute it', (t) => {
  fc.assert(fc.property(fc.uint8Array(), (bytes) => crc32(bytes) === zlibCrc32(bytes)));
  t.equal(crc32(Buffer.from('123456789')), 0xcbf43926);
  t.end();
});

t.test('a table is read as it was made, and grown at its end alone', (t) => {
  fc.assert(
    fc.property(disks, fc.integer({ min: 0, max: 1_000_000 }), fc.boolean(), ({ pieces, diskSectors }, more, isGpt) => {
      const some = isGpt ? pieces : pieces.slice(0, 4);
      const head = isGpt ? gpt(diskSectors, some) : mbr(some.map((piece) => ({ ...piece, type: 0x83 })));
      const table = parsePartitionTable(head, diskSectors * SECTOR);
      t.strictSame(places(table), some.map(bytesOf));
      const longer = (diskSectors + more) * SECTOR;
      const { writes, sizeBytes } = planGrowth(head, longer, some.length);
      const after = applied(head, writes);
      const grown = parsePartitionTable(after, longer);
      t.strictSame(places(grown)?.slice(0, -1), places(table)?.slice(0, -1), 'others stay');
      const last = grown?.partitions.at(-1);
      t.equal(last?.at, table?.partitions.at(-1)?.at, 'it begins where it did');
      t.equal(last?.sizeBytes, sizeBytes);
      t.equal(last!.at + sizeBytes, isGpt ? longer - 33 * SECTOR : longer, 'it ends at the end');
      t.strictSame(applied(after, planGrowth(after, longer, some.length).writes), after, 'once is enough');
      for (const { at, bytes } of writes) t.ok(at >= 0 && at + bytes.length <= longer, 'nothing is written outside');
      if (some.length > 1) {
        t.throws(() => planGrowth(head, longer, 1), { code: 'invalid', message: /another one begins after/ });
      }
    }),
    { numRuns: 60 },
  );
  t.end();
});

t.test('the copy of a GPT at the end of the disk is one', (t) => {
  const head = gpt(100_000, [{ first: 2_048, sectors: 10_000 }]);
  const longer = 200_000;
  const { writes } = planGrowth(head, longer * SECTOR, 1);
  const [entries, header] = writes;
  t.equal(entries?.at, (longer - 33) * SECTOR);
  t.equal(header?.at, (longer - 1) * SECTOR);
  const bytes = Buffer.from(header!.bytes);
  t.equal(bytes.readBigUInt64LE(24), BigInt(longer - 1), 'it says where it is');
  t.equal(bytes.readBigUInt64LE(32), 1n);
  t.equal(bytes.readBigUInt64LE(72), BigInt(longer - 33));
  t.equal(bytes.readUInt32LE(88), zlibCrc32(entries!.bytes));
  const sum = bytes.readUInt32LE(16);
  bytes.writeUInt32LE(0, 16);
  t.equal(sum, zlibCrc32(bytes.subarray(0, 92)));
  t.end();
});

t.test('a disk that holds anything is refused or read soundly', (t) => {
  const isSound = (head: Uint8Array, diskBytes: number): boolean => {
    try {
      const table = parsePartitionTable(head, diskBytes);
      const sorted = [...(table?.partitions ?? [])].sort((a, b) => a.at - b.at);
      return sorted.every(
        ({ at, sizeBytes }, n) =>
          at >= SECTOR &&
          sizeBytes > 0 &&
          at + sizeBytes <= (sorted[n + 1]?.at ?? diskBytes) &&
          at + sizeBytes <= diskBytes,
      );
    } catch (error) {
      return error instanceof AppError;
    }
  };
  const changes = fc.array(fc.record({ at: fc.nat(6_000), byte: fc.nat(255) }), { maxLength: 8 });
  fc.assert(
    fc.property(disks, changes, fc.boolean(), ({ pieces, diskSectors }, edits, isSealed) => {
      const head = gpt(diskSectors, pieces);
      for (const { at, byte } of edits) head.writeUInt8(byte, at);
      return isSound(isSealed ? sealed(head) : head, diskSectors * SECTOR);
    }),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 66, maxLength: 66 }), fc.nat(2 ** 40), (tail, diskBytes) => {
      const head = Buffer.alloc(HEAD);
      head.set(tail, 446);
      head.writeUInt16LE(0xaa55, 510);
      return isSound(head, diskBytes);
    }),
    { numRuns: 500 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 5_000 }), fc.nat(), isSound), { numRuns: 100 });
  t.end();
});

t.test('what is wrong with a table is said', (t) => {
  const disk = 100_000 * SECTOR;
  const good = gpt(100_000, [{ first: 2_048, sectors: 1_000 }]);
  const bad = (change: (head: Buffer) => void, isSealed = false): Buffer => {
    const head = Buffer.from(good);
    change(head);
    return isSealed ? sealed(head) : head;
  };
  for (const [head, message] of [
    [bad((head) => head.write('x', SECTOR + 60)), /checksum of its header/],
    [bad((head) => head.write('x', 2 * SECTOR + 60)), /checksum of its entries/],
    [bad((head) => head.write('EFI FART', SECTOR)), /header is missing/],
    [bad((head) => head.writeUInt32LE(9_999, SECTOR + 12)), /no sensible length/],
    [bad((head) => head.writeUInt32LE(64, SECTOR + 84), true), /not where they should be/],
    [bad((head) => head.writeBigUInt64LE(1n << 60n, SECTOR + 72), true), /not where they should be/],
    [bad((head) => head.writeBigUInt64LE(1n << 63n, 2 * SECTOR + 40), true), /beyond the end/],
    [bad((head) => head.writeBigUInt64LE(0n, 2 * SECTOR + 32), true), /overlap/],
    [
      gpt(100_000, [
        { first: 2_048, sectors: 100 },
        { first: 2_100, sectors: 100 },
      ]),
      /overlap/,
    ],
    [mbr([{ first: 2_048, sectors: 200_000, type: 0x83 }]), /beyond the end/],
    [mbr([{ first: 0, sectors: 10, type: 0x83 }]), /overlap/],
  ] as const) {
    t.throws(() => parsePartitionTable(head, disk), { code: 'wrong_state', message, details: { hint: /--verify/ } });
  }
  t.equal(parsePartitionTable(Buffer.alloc(HEAD), disk), undefined);
  t.equal(parsePartitionTable(mbr([]), disk), undefined, 'no partition');
  t.equal(parsePartitionTable(mbr([{ first: 1, sectors: 1, type: 7, status: 0x33 }]), disk), undefined, 'boot code');
  const root = parsePartitionTable(
    gpt(
      100_000,
      [
        { first: 40, sectors: 8 },
        { first: 50, sectors: 8 },
      ],
      [LINUX, ROOT],
    ),
    disk,
  );
  t.strictSame(
    root?.partitions.map(({ isRoot }) => isRoot),
    [false, true],
  );
  t.end();
});

t.test('logical partitions', (t) => {
  const extended = { at: 10_000 * SECTOR, sizeBytes: 50_000 * SECTOR };
  const table = mbr([
    { first: 2_048, sectors: 5_000, type: 0x83 },
    { first: 10_000, sectors: 50_000, type: 0x05 },
  ]);
  t.strictSame(parsePartitionTable(table, 100_000 * SECTOR)?.extended, extended);
  t.throws(() => planGrowth(table, 100_000 * SECTOR, 1), { code: 'invalid', message: /another one begins after/ });
  t.throws(() => planGrowth(table, 100_000 * SECTOR, 5), { code: 'invalid', message: /logical/ });
  const chain = mbr([
    { first: 63, sectors: 1_000, type: 0x83 },
    { first: 2_000, sectors: 1_100, type: 0x05 },
  ]);
  const first = parseLogical(chain, extended.at, extended);
  t.strictSame(first, { partition: bytesOf({ first: 10_063, sectors: 1_000 }), nextAt: 12_000 * SECTOR });
  const last = mbr([{ first: 63, sectors: 1_000, type: 0x83 }]);
  t.strictSame(parseLogical(last, 12_000 * SECTOR, extended).nextAt, undefined);
  t.strictSame(parseLogical(Buffer.alloc(SECTOR), 12_000 * SECTOR, extended), {
    partition: undefined,
    nextAt: undefined,
  });
  for (const bad of [
    mbr([{ first: 63, sectors: 60_000, type: 0x83 }]),
    mbr([
      { first: 63, sectors: 10, type: 0x83 },
      { first: 60_000, sectors: 10, type: 0x05 },
    ]),
  ]) {
    t.throws(() => parseLogical(bad, extended.at, extended), { code: 'wrong_state', message: /outside/ });
  }
  t.end();
});
