import { setString } from './xl-cfg/edit.js';
import { formatXlCfg, parseXlCfg } from './xl-cfg/xl-cfg.js';

/** What the cfg of a VM was before domherd wrote it. */
export type FormerCfg =
  | {
      readonly kind: 'kept';
      /** The whole cfg before the first write, one character a byte. */
      readonly text: string;
      /** As the last write left it. */
      readonly written: string;
      /** Somebody else changed it between two writes. */
      readonly isEdited: boolean;
    }
  /** It was given back, and not written since. */
  | { readonly kind: 'restored' };

/** What is to be kept once `before` has become `after`: the text before the first write stays. */
export function formerAfterWrite(former: FormerCfg | undefined, before: string, after: string): FormerCfg {
  if (former?.kind !== 'kept') return { kind: 'kept', text: before, written: after, isEdited: false };
  return { ...former, written: after, isEdited: former.isEdited || former.written !== before };
}

/** What is kept of a VM that has another name now: given back, it keeps that name. */
export function formerAfterRename(former: FormerCfg | undefined, name: string): FormerCfg | undefined {
  if (former?.kind !== 'kept') return former;
  return { ...former, text: formatXlCfg(setString(parseXlCfg(former.text), 'name', name)) };
}
