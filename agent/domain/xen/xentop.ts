/** One domain in one block of `xentop -b -f`. */
export interface XentopRow {
  readonly name: string;
  /** Of d (dying), s (shut down), b (blocked), c (crashed), p (paused), r (running): those that are set. */
  readonly flags: string;
  /** Whole seconds. */
  readonly cpuSeconds: number;
  /** Of one CPU, since the block before; 0 in the first block that has the domain. */
  readonly cpuPercent: number;
  readonly memoryMib: number;
}

// From the right, since a name may hold blanks and even look like columns. MAXMEM of a domain without a limit is "no limit",
// two words, and its percentage "n/a" (xentop.c). Ten whole numbers follow VCPUS, the last is SSID.
const ROW = new RegExp(
  '^ *(?<name>.*\\S) +(?<flags>[d-][s-][b-][c-][p-][r-]) +(?<cpuSeconds>\\d+) +(?<cpuPercent>\\d+\\.\\d)' +
    ' +(?<memoryKib>\\d+) +\\d+\\.\\d +(?:\\d+|no limit) +(?:\\d+\\.\\d|n/a) +\\d+(?: +\\d+){10} *$',
);

/** @returns `header` for the line that begins a block, `undefined` for one that is neither that nor a domain */
export function parseXentopLine(line: string): XentopRow | 'header' | undefined {
  if (/^ *NAME +STATE +CPU\(sec\)/.test(line)) return 'header';
  const { name, flags, cpuSeconds, cpuPercent, memoryKib } = ROW.exec(line)?.groups ?? {};
  if (name === undefined || flags === undefined) return undefined;
  return {
    name,
    flags: flags.replaceAll('-', ''),
    cpuSeconds: Number(cpuSeconds),
    cpuPercent: Number(cpuPercent),
    memoryMib: Math.floor(Number(memoryKib) / 1024),
  };
}
