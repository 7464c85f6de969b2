import type { TransferChunk, TransferFile, TransferHead } from '../domain/transfer.js';
import { invalid } from '../errors.js';
import type * as wire from '../gen/domherd/v1/transfer.js';

/** A VM has a few disks. */
const MAX_FILES = 1_000;

export function chunkToWire(chunk: TransferChunk): wire.TransferChunk {
  switch (chunk.kind) {
    case 'head':
      return { chunk: { $case: 'head', value: headToWire(chunk.transferId, chunk.head) } };
    case 'piece': {
      const { file, offsetBytes, sizeBytes, isPacked, data } = chunk.piece;
      const value = { file, offset: BigInt(offsetBytes), size: sizeBytes, packed: isPacked, data: asBuffer(data) };
      return { chunk: { $case: 'piece', value } };
    }
    case 'end':
      return { chunk: { $case: 'end', value: { sha256: asBuffer(chunk.sha256) } } };
  }
}

/** @throws {AppError} `invalid` */
export function chunkFromWire({ chunk }: wire.TransferChunk): TransferChunk {
  switch (chunk?.$case) {
    case 'head':
      return { kind: 'head', transferId: chunk.value.transferId, head: headFromWire(chunk.value) };
    case 'piece': {
      const { file, offset, size, packed, data } = chunk.value;
      const piece = { file, offsetBytes: numberFrom(offset), sizeBytes: size, isPacked: packed, data };
      return { kind: 'piece', piece };
    }
    case 'end':
      return { kind: 'end', sha256: chunk.value.sha256 };
    case undefined:
      throw invalid('A chunk of a transfer is empty', { field: 'chunk' });
  }
}

function headToWire(transferId: string, { files, cfgText }: TransferHead): wire.TransferHead {
  const wireFiles = files.map(({ name, sizeBytes, usedBytes }) => ({
    ...{ name, size: BigInt(sizeBytes), used: BigInt(usedBytes) },
  }));
  return { transferId, files: wireFiles, cfg: Buffer.from(cfgText ?? '', 'latin1') };
}

function headFromWire({ files, cfg }: wire.TransferHead): TransferHead {
  if (files.length > MAX_FILES) throw invalid(`A transfer has ${String(files.length)} files`, { field: 'head.files' });
  return { files: files.map(fileFromWire), cfgText: cfg.length === 0 ? undefined : cfg.toString('latin1') };
}

function fileFromWire({ name, size, used }: wire.TransferFile): TransferFile {
  return { name, sizeBytes: numberFrom(size), usedBytes: numberFrom(used) };
}

function numberFrom(bytes: bigint): number {
  if (bytes > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid(`${String(bytes)} bytes are more than a file can have`);
  return Number(bytes);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
