import { createHash } from 'node:crypto';
import * as v from 'valibot';

export const FormerCfgSchema = v.variant('kind', [
  v.object({ kind: v.literal('kept'), text: v.string(), written: v.string(), isEdited: v.boolean() }),
  v.object({ kind: v.literal('restored') }),
]);

/** The key of what is recorded of a cfg. */
export function recordKeyOf(cfgPath: string): string {
  return createHash('sha256').update(cfgPath).digest('hex').slice(0, 40);
}
