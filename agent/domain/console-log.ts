/** Of a log, never more than this is handed out at once: what a crash loop writes has no end. */
export const MAX_LOG_BYTES = 1024 * 1024;

const NEWLINE = 10;

/**
 * The last lines of a log. What stands behind the last line end counts as a line.
 *
 * @param bytes the end of the log, cut anywhere
 * @param isWhole whether it is all of the log; else what stands before the first line end is no whole line, and left out
 */
export function lastLines(bytes: Uint8Array, lines: number, isWhole: boolean): Uint8Array {
  const first = isWhole ? 0 : bytes.indexOf(NEWLINE) + 1;
  let start = bytes.length;
  for (let left = lines; left > 0 && start > first; left -= 1) start = lineStart(bytes, start - 1);
  return bytes.subarray(Math.max(start, first));
}

/** Where the line begins that has its last byte at `end`. */
function lineStart(bytes: Uint8Array, end: number): number {
  for (let at = end; at > 0; at -= 1) if (bytes[at - 1] === NEWLINE) return at;
  return 0;
}
