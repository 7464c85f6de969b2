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

const RecordSchema = v.object({ version: v.literal(1), cfgPath: v.string(), files: OriginalsSchema });

export function formatOriginals(cfgPath: string, files: Originals): Buffer {
  return Buffer.from(JSON.stringify({ version: 1, cfgPath, files }));
}

/** @throws {AppError} `wrong_state` if it is damaged */
export function parseOriginals(bytes: Uint8Array): Originals {
  try {
    return v.parse(RecordSchema, JSON.parse(Buffer.from(bytes).toString())).files;
  } catch (error) {
    throw wrongState(`The record of a guest's files before they were changed cannot be read: ${messageOf(error)}`);
  }
}
