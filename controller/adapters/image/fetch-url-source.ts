import { AppError, invalid, messageOf, notFound } from '../../../shared/errors.js';
import { printable } from '../../../shared/domain/printable.js';
import type { ImageOrigin } from '../../ports/image-store.js';
import type { UrlAnswer, UrlSource } from '../../ports/url-source.js';

/** A connection and the head of an answer, redirections included. */
const ANSWER_MS = 30_000;
/** Without a byte. */
const STALL_MS = 60_000;

/** Node's own fetch: at most 20 redirections, certificates checked. It asks no proxy. */
export class FetchUrlSource implements UrlSource {
  async open(text: string, known: ImageOrigin | undefined, signal: AbortSignal): Promise<UrlAnswer> {
    const url = parseUrl(text);
    const stall = new AbortController();
    const late = (limitMs: number, what: string): NodeJS.Timeout =>
      setTimeout(() => stall.abort(new AppError('unavailable', `${url.host} ${what}`, { url: url.href })), limitMs);
    const timer = late(ANSWER_MS, `did not answer within ${ANSWER_MS / 1000} s`);
    const ends = AbortSignal.any([signal, stall.signal]);
    const response = await fetch(url, { headers: conditions(known), signal: ends }).catch((error: unknown) => {
      clearTimeout(timer);
      throw failed(url, ends, error);
    });
    clearTimeout(timer);
    if (response.status === 304) return { kind: 'unchanged' };
    refuseStatus(url, response);
    const length = Number(response.headers.get('content-length') ?? NaN);
    return {
      kind: 'data',
      totalBytes: Number.isSafeInteger(length) ? length : undefined,
      origin: {
        url: text,
        etag: response.headers.get('etag') ?? undefined,
        lastModified: response.headers.get('last-modified') ?? undefined,
      },
      data: readBody(url, response, ends, () => late(STALL_MS, `sent nothing for ${STALL_MS / 1000} s`)),
    };
  }
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url !== undefined && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '') return url;
  throw invalid(`"${printable(text)}" is no URL to fetch an image from`, {
    hint: 'give http://HOST/PATH or https://HOST/PATH, without a password',
  });
}

/** Bytes as they are: what a server packs on the way would have another hash. */
function conditions(known: ImageOrigin | undefined): Record<string, string> {
  return {
    'accept-encoding': 'identity',
    ...(known?.etag !== undefined && { 'if-none-match': known.etag }),
    ...(known?.lastModified !== undefined && { 'if-modified-since': known.lastModified }),
  };
}

function refuseStatus(url: URL, { status, statusText }: Response): void {
  if (status === 200) return;
  const details = { status: String(status), url: url.href };
  if (status === 404 || status === 410) throw notFound(`${url.host} has no ${url.pathname}`, details);
  throw new AppError('unavailable', `${url.host} answered ${status} ${printable(statusText)}`, details);
}

async function* readBody(
  url: URL,
  response: Response,
  signal: AbortSignal,
  startTimer: () => NodeJS.Timeout,
): AsyncGenerator<Uint8Array, void, undefined> {
  let timer = startTimer();
  try {
    for await (const bytes of response.body ?? []) {
      clearTimeout(timer);
      yield bytes as Uint8Array;
      timer = startTimer();
    }
  } catch (error) {
    throw failed(url, signal, error);
  } finally {
    clearTimeout(timer);
  }
}

/** fetch says "fetch failed", and why in its cause. */
function failed(url: URL, signal: AbortSignal, error: unknown): AppError {
  if (signal.reason instanceof AppError) return signal.reason;
  const reason = error instanceof Error && error.cause !== undefined ? messageOf(error.cause) : messageOf(error);
  const hint = 'where the controller has no way there: download it, and give the file';
  return new AppError('unavailable', `${url.href} cannot be fetched: ${reason}`, { url: url.href, hint }, error);
}
