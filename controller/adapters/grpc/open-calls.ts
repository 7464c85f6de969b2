import { AppError } from '../../../shared/errors.js';
import type { LiveCalls } from '../../ports/live-calls.js';

/** What of a call decides when it is cut. */
export interface OpenCall {
  /** One name for all calls of one client. */
  readonly client: string;
  /** The certificate's; `undefined` without one. */
  readonly serial: string | undefined;
  readonly isStream: boolean;
  readonly abort: AbortController;
}

/** The calls of all listeners that are being answered, so that they can be ended from outside. */
export class OpenCalls implements LiveCalls {
  private readonly calls = new Set<OpenCall>();
  private readonly streams = new Map<string, number>();
  private readonly maxStreams: number;

  /** @param maxStreams streams that one client may have open */
  constructor(maxStreams: number) {
    this.maxStreams = maxStreams;
  }

  /**
   * @returns forgets the call; to be called once
   * @throws {AppError} `exhausted` if the client has as many streams as it may have
   */
  add(call: OpenCall): () => void {
    if (call.isStream) this.countStream(call.client);
    this.calls.add(call);
    return () => {
      this.calls.delete(call);
      if (call.isStream) this.uncountStream(call.client);
    };
  }

  cut(serials: readonly string[], reason: AppError): void {
    const isCut = new Set(serials);
    this.abortWhere((call) => call.serial !== undefined && isCut.has(call.serial), reason);
  }

  /** Unary calls are left alone: they end by themselves. */
  endStreams(reason: AppError): void {
    this.abortWhere((call) => call.isStream, reason);
  }

  endAll(reason: AppError): void {
    this.abortWhere(() => true, reason);
  }

  private abortWhere(matches: (call: OpenCall) => boolean, reason: AppError): void {
    for (const call of [...this.calls]) if (matches(call)) call.abort.abort(reason);
  }

  private countStream(client: string): void {
    const open = this.streams.get(client) ?? 0;
    if (open >= this.maxStreams) {
      throw new AppError('exhausted', `${client} has ${String(open)} streams open, more are not allowed`, {
        limit: String(this.maxStreams),
        hint: 'end those that nobody reads any more',
      });
    }
    this.streams.set(client, open + 1);
  }

  private uncountStream(client: string): void {
    const open = (this.streams.get(client) ?? 1) - 1;
    if (open === 0) this.streams.delete(client);
    else this.streams.set(client, open);
  }
}
