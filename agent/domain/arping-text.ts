// What arping prints. Two programs have that name; that of iputils detects duplicate addresses, that of Habets does not.
import { type Mac, parseMac } from '../../shared/domain/mac.js';

/** @param version what `arping -V` printed, on either stream */
export function isIputilsArping(version: string): boolean {
  return /\biputils\b/.test(version);
}

/** The MAC in the first reply; `undefined` if there was none. */
export function answeringMac(stdout: string): Mac | undefined {
  const text = /^\w+ (?:reply|request) from \S+ \[([\dA-Fa-f:]{17})\]/m.exec(stdout)?.[1];
  return text === undefined ? undefined : parseMac(text);
}
