import * as v from 'valibot';
import { messageOf, wrongState } from '../../../shared/errors.js';
import type { Originals } from '../../domain/guest/guest-original.js';

const OriginalSchema = v.variant('kind', [
  v.object({ kind: v.literal('none') }),
  v.object({
    ...{ kind: v.literal('file'), text: v.string() },
    ...{ mode: v.number(), uid: v.number(), gid: v.number() },
  }),
  v.object({ kind: v.literal('link'), target: v.string() }),
  v.object({ kind: v.literal('unread') }),
]);

export const OriginalsSchema = v.record(v.string(), OriginalSchema);

const RecordSchema = v.object({
  version: v.literal(1),
  cfgPath: v.string(),
  fsUuid: v.optional(v.string(), ''),
  files: OriginalsSchema,
});

/** The files of a guest before they were changed. */
export interface OriginalRecord {
  /** Of the file system that they were in; empty: not known. */
  readonly fsUuid: string;
  readonly files: Originals;
}

export function formatOriginals(cfgPath: string, record: OriginalRecord): Buffer {
  return Buffer.from(JSON.stringify({ version: 1, cfgPath, ...record }));
}

/** @throws {AppError} `wrong_state` if it is damaged */
export function parseOriginals(bytes: Uint8Array): OriginalRecord {
  try {
    return v.parse(RecordSchema, JSON.parse(Buffer.from(bytes).toString()));
  } catch (error) {
    throw wrongState(`The record of a guest's files before they were changed cannot be read: ${messageOf(error)}`);
  }
}

/** Of a disk that was made anew they are in no file system any more. */
export function areOfAnother({ fsUuid }: OriginalRecord, present: string): boolean {
  return fsUuid !== '' && present !== '' && fsUuid !== present;
}
