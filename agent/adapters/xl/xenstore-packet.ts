// The wire of xenstored (xen/include/public/io/xs_wire.h): a header of four 32-bit numbers, type, request id, transaction
// id and length, in the order of the machine's bytes, and a payload of at most 4,096 bytes.
import { AppError } from '../../../shared/errors.js';

export const PACKET_TYPE = {
  directory: 1,
  read: 2,
  watch: 4,
  unwatch: 5,
  watchEvent: 15,
  error: 16,
  directoryPart: 20,
} as const;

export interface Packet {
  readonly type: number;
  readonly requestId: number;
  readonly payload: Buffer;
}

const HEADER_BYTES = 16;
/** Of what is sent. An answer may be longer with some versions; one of this much is no answer any more. */
const MAX_PAYLOAD_BYTES = 4096;
const MAX_ANSWER_BYTES = 1024 * 1024;

/** @throws {AppError} `invalid` for a payload that xenstored would not take */
export function encodePacket(type: number, requestId: number, payload: string): Buffer {
  const body = Buffer.from(payload, 'latin1');
  if (body.length > MAX_PAYLOAD_BYTES) throw new AppError('invalid', `${body.length} bytes are too many for xenstored`);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(type, 0);
  header.writeUInt32LE(requestId, 4);
  header.writeUInt32LE(body.length, 12);
  return Buffer.concat([header, body]);
}

/** Cuts a stream into packets, however its pieces fall. */
export class PacketReader {
  #rest: Buffer = Buffer.alloc(0);

  /** @returns the packets that are whole now @throws {AppError} `unavailable` for what is no stream of packets */
  push(piece: Buffer): readonly Packet[] {
    this.#rest = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    const packets: Packet[] = [];
    for (let packet = this.#take(); packet !== undefined; packet = this.#take()) packets.push(packet);
    return packets;
  }

  #take(): Packet | undefined {
    if (this.#rest.length < HEADER_BYTES) return undefined;
    const length = this.#rest.readUInt32LE(12);
    if (length > MAX_ANSWER_BYTES)
      throw new AppError('unavailable', `xenstored announces ${length} bytes: no answer is`);
    const end = HEADER_BYTES + length;
    if (this.#rest.length < end) return undefined;
    const payload = this.#rest.subarray(HEADER_BYTES, end);
    const packet = { type: this.#rest.readUInt32LE(0), requestId: this.#rest.readUInt32LE(4), payload };
    this.#rest = this.#rest.subarray(end);
    return packet;
  }
}
