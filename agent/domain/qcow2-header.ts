import { invalid } from '../../shared/errors.js';

export interface Qcow2Header {
  /** As the guest sees it. */
  readonly sizeBytes: number;
  /** As it is written, which may be from the image's folder on; `undefined`: it has none. */
  readonly backingFile: string | undefined;
  /** What the image says of it; `undefined`: nothing. */
  readonly backingFormat: string | undefined;
}

/** A backing file's name may be this long; it stands in the first cluster. */
export const QCOW2_HEAD_BYTES = 65_536;

const BACKING_FORMAT = 0xe2792aca;
/** Of a header of version 2; later ones say how long they are. */
const HEADER_BYTES = 72;

/**
 * The header of a qcow2 image, as QEMU's docs/interop/qcow2.txt has it.
 *
 * @param head its first bytes, all of them up to {@link QCOW2_HEAD_BYTES}
 * @param path for the message
 * @throws {AppError} `invalid` if it is none
 */
export function parseQcow2Header(head: Uint8Array, path: string): Qcow2Header {
  const view = new DataView(head.buffer, head.byteOffset, head.byteLength);
  if (head.length < HEADER_BYTES || view.getUint32(0) !== 0x514649fb || view.getUint32(4) < 2) {
    throw invalid(`The disk ${path} is no qcow2 image`, { disk: path, hint: 'qemu-img info says what it is' });
  }
  const offset = Number(view.getBigUint64(8));
  const length = view.getUint32(16);
  const name = head.subarray(offset, offset + length);
  return {
    sizeBytes: Number(view.getBigUint64(24)),
    backingFile: offset === 0 ? undefined : String.fromCharCode(...name),
    backingFormat: extensionOf(view, BACKING_FORMAT),
  };
}

/** Extensions come after the header, each with its type and length, padded to 8 bytes. */
function extensionOf(view: DataView, wanted: number): string | undefined {
  const isLong = view.getUint32(4) > 2 && view.byteLength >= 104;
  for (let at = isLong ? view.getUint32(100) : HEADER_BYTES; at + 8 <= view.byteLength;) {
    const [type, length] = [view.getUint32(at), view.getUint32(at + 4)];
    if (type === 0) return undefined;
    if (type === wanted) {
      const end = Math.min(at + 8 + length, view.byteLength);
      return String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at + 8, end - at - 8));
    }
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return undefined;
}
