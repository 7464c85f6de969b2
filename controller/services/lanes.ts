/** At most `limit` works at once for one key; the rest waits for its turn, in the order in which it came. */
export class Lanes<K> {
  private readonly limit: number;
  private readonly lanes = new Map<K, { busy: number; readonly waiting: (() => void)[] }>();

  constructor(limit: number) {
    this.limit = limit;
  }

  async run<T>(key: K, work: () => Promise<T>): Promise<T> {
    const lane = this.lanes.get(key) ?? { busy: 0, waiting: [] };
    this.lanes.set(key, lane);
    if (lane.busy < this.limit) lane.busy += 1;
    else await new Promise<void>((resolve) => lane.waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = lane.waiting.shift();
      // The turn is handed on: whoever comes meanwhile stays behind those who wait.
      if (next) next();
      else lane.busy -= 1;
      if (lane.busy === 0) this.lanes.delete(key);
    }
  }
}
