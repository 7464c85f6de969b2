/** Bytes from one side to the other. Bounded: the side that gives waits, or is told that there is no room. */
export class BytePipe {
  private readonly limitBytes: number;
  private readonly waiting: Uint8Array[] = [];
  private bytes = 0;
  private end: { readonly error?: unknown } | undefined;
  private wakeReader: () => void = () => undefined;
  private readonly wakeWriters: (() => void)[] = [];

  /** @param limitBytes 1 up; one piece may go over it */
  constructor(limitBytes: number) {
    this.limitBytes = limitBytes;
  }

  /** Resolves when there is room for more; `false` when the pipe is at its end, and the piece is dropped. */
  async push(piece: Uint8Array): Promise<boolean> {
    if (this.isOver()) return false;
    this.waiting.push(piece);
    this.bytes += piece.length;
    this.wakeReader();
    while (!this.isOver() && this.bytes >= this.limitBytes) {
      await new Promise<void>((resolve) => this.wakeWriters.push(resolve));
    }
    return !this.isOver();
  }

  /** Ends it after what waits; with an error, at once. The first end counts. */
  close(error?: unknown): void {
    this.end ??= error === undefined ? {} : { error };
    this.wake();
  }

  /** To be called once; leaving the loop closes. Throws what `close` was given. */
  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        if (this.end && 'error' in this.end) throw this.end.error;
        const piece = this.waiting.shift();
        if (piece) {
          this.bytes -= piece.length;
          if (this.bytes < this.limitBytes) this.releaseWriters();
          yield piece;
        } else if (this.end) return;
        else await new Promise<void>((resolve) => (this.wakeReader = resolve));
      }
    } finally {
      this.close();
    }
  }

  private isOver(): boolean {
    return this.end !== undefined;
  }

  private wake(): void {
    this.wakeReader();
    this.releaseWriters();
  }

  private releaseWriters(): void {
    for (const wake of this.wakeWriters.splice(0)) wake();
  }
}
