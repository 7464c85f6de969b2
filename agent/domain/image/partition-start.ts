const SECTOR_BYTES = 512;
const MBR = { entriesAt: 446, entryBytes: 16, count: 4 };
const GPT = { headerAt: 512, entriesLbaAt: 72, countAt: 80, entryBytesAt: 84, maxEntries: 128 };
/** A table that protects a GPT; extended partitions, which hold others. */
const NO_FILE_SYSTEM = new Set([0, 0xee, 0x05, 0x0f, 0x85]);

/** Where the partitions of a whole disk begin, in bytes, as far as its first {@link IMAGE_HEAD_BYTES} tell. */
export function partitionStarts(head: Uint8Array): readonly number[] {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  const text = String.fromCharCode(...head.subarray(GPT.headerAt, GPT.headerAt + 8));
  return text === 'EFI PART' ? gptStarts(view) : mbrStarts(view);
}

function mbrStarts(view: DataView): readonly number[] {
  if (view.byteLength < SECTOR_BYTES) return [];
  const places = Array.from({ length: MBR.count }, (_, n) => MBR.entriesAt + n * MBR.entryBytes);
  return places
    .filter((at) => !NO_FILE_SYSTEM.has(view.getUint8(at + 4)))
    .map((at) => view.getUint32(at + 8, true) * SECTOR_BYTES)
    .filter((start) => start > 0);
}

function gptStarts(view: DataView): readonly number[] {
  const header = GPT.headerAt;
  const first = Number(view.getBigUint64(header + GPT.entriesLbaAt, true)) * SECTOR_BYTES;
  const count = Math.min(view.getUint32(header + GPT.countAt, true), GPT.maxEntries);
  const size = view.getUint32(header + GPT.entryBytesAt, true);
  const places = Array.from({ length: count }, (_, n) => first + n * size);
  return places
    .filter((at) => at + 40 <= view.byteLength && view.getBigUint64(at, true) !== 0n)
    .map((at) => Number(view.getBigUint64(at + 32, true)) * SECTOR_BYTES);
}
