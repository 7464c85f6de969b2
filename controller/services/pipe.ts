/** From one writer to one reader, in order. Bounded: the writer waits for the reader. */
export class Pipe<T> {
  private readonly limit: number;
  private readonly waiting: T[] = [];
  private readonly wakers = new Set<() => void>();
  private failure: { readonly error: unknown } | undefined;
  private isEnded = false;

  /** @param limit items that may wait, 1 or more */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** Resolves when it was taken in. Throws what `fail` was given. */
  async put(item: T): Promise<void> {
    while (this.waiting.length >= this.limit) await this.changed();
    this.throwFailure();
    this.waiting.push(item);
    this.wake();
  }

  /** Nothing more comes. */
  end(): void {
    this.isEnded = true;
    this.wake();
  }

  /** For both ends, at once. The first one counts. */
  fail(error: unknown): void {
    this.failure ??= { error };
    this.waiting.length = 0;
    this.wake();
  }

  /** `undefined`: that was all. Throws what `fail` was given. */
  async take(): Promise<T | undefined> {
    for (;;) {
      this.throwFailure();
      const item = this.waiting.shift();
      if (item !== undefined) {
        this.wake();
        return item;
      }
      if (this.isEnded) return undefined;
      await this.changed();
    }
  }

  private throwFailure(): void {
    if (this.failure) throw this.failure.error;
  }

  private changed(): Promise<void> {
    return new Promise((resolve) => this.wakers.add(resolve));
  }

  private wake(): void {
    for (const waker of this.wakers) waker();
    this.wakers.clear();
  }
}
