import { invalid } from '../../shared/errors.js';

export interface Qcow2Header {
  /** As the guest sees it. */
  readonly sizeBytes: number;
  /** As it is written, which may be from the image's folder on; `undefined`: it has none. */
  readonly backingFile: string | undefined;
}

/** A backing file's name may be this long; it stands in the first cluster. */
export const QCOW2_HEAD_BYTES = 65_536;

/**
 * The header of a qcow2 image, as QEMU's docs/interop/qcow2.txt has it.
 *
 * @param head its first bytes, all of them up to {@link QCOW2_HEAD_BYTES}
 * @param path for the message
 * @throws {AppError} `invalid` if it is none
 */
export function parseQcow2Header(head: Uint8Array, path: string): Qcow2Header {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.length < 72 || view.getUint32(0) !== 0x514649fb || view.getUint32(4) < 2) {
    throw invalid(`The disk ${path} is no qcow2 image`, { disk: path, hint: 'qemu-img info says what it is' });
  }
  const offset = Number(view.getBigUint64(8));
  const length = view.getUint32(16);
  const name = head.subarray(offset, offset + length);
  return {
    sizeBytes: Number(view.getBigUint64(24)),
    backingFile: offset === 0 ? undefined : String.fromCharCode(...name),
  };
}
