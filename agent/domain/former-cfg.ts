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
