/** Messages that wait for a stream. Bounded: a reader that does not keep up ends it. */
export class Outbox<T> {
  private readonly limit: number;
  private readonly waiting: T[] = [];
  private wake: (() => void) | undefined;
  private end: { readonly error: unknown } | 'closed' | undefined;

  /** @param limit messages, 1 or more */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** @returns false if it is full or at its end: then nothing was added */
  push(message: T): boolean {
    if (this.end !== undefined || this.waiting.length >= this.limit) return false;
    this.waiting.push(message);
    this.wake?.();
    return true;
  }

  /** Ends the stream after what waits. The first end counts. */
  close(): void {
    this.end ??= 'closed';
    this.wake?.();
  }

  /** Ends the stream at once, with an error. The first end counts. */
  fail(error: unknown): void {
    this.end ??= { error };
    this.wake?.();
  }

  /** To be called once. Throws what `fail` was given. */
  async *read(): AsyncGenerator<T, void, undefined> {
    for (;;) {
      if (typeof this.end === 'object') throw this.end.error;
      const message = this.waiting.shift();
      if (message !== undefined) yield message;
      else if (this.end === 'closed') return;
      else await new Promise<void>((resolve) => (this.wake = resolve));
    }
  }
}
