import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { open, stat } from 'node:fs/promises';
import { once } from 'node:events';
import { basename } from 'node:path';
import { Metadata, type ClientDuplexStream } from '@grpc/grpc-js';
import { IMAGE_HEAD_BYTES, imageFormat, refuseLinkedQcow2 } from '../../shared/domain/image-format.js';
import { parseSha256, type Sha256 } from '../../shared/domain/sha256.js';
import { AppError, invalid, messageOf, notFound, toAppError } from '../../shared/errors.js';
import {
  ImageServiceClient,
  type Image,
  type PutImageRequest,
  type PutImageResponse,
} from '../../shared/gen/domherd/v1/image.js';
import { callStream, isServiceError } from '../../shared/grpc/client.js';
import { fromServiceError } from '../../shared/grpc/status.js';
import { isUrl } from './create-source.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { tell } from './output.js';
import { isLive } from './terminal-text.js';

const CHUNK_BYTES = 256 * 1024;

export interface ImageOptions {
  readonly sha256?: string;
}

/**
 * Has the controller keep an image: a file of this machine is sent, unless the controller has it; a URL is fetched by the
 * controller.
 *
 * @throws {AppError} `not_found`, `invalid` (no image, or another than --sha256 says), and what the controller says
 */
export function sendImage(call: Invocation, source: string, { sha256 }: ImageOptions): Promise<Image> {
  const wanted = sha256 === undefined ? undefined : parseSha256(sha256);
  return withClient(call, ImageServiceClient, (client) =>
    isUrl(source) ? fetchByController(call, client, source, wanted) : sendFile(call, client, source, wanted),
  );
}

/**
 * What an image is for a plan: nothing is sent or fetched. What only its bytes could tell is made up for a URL.
 *
 * @throws {AppError} as {@link sendImage}, for a file
 */
export async function knownImage(call: Invocation, source: string, { sha256 }: ImageOptions): Promise<Image> {
  if (isUrl(source)) {
    const hash = sha256 === undefined ? '0'.repeat(64) : parseSha256(sha256);
    return { sha256: hash, sizeBytes: 1n, name: source };
  }
  return describeFile(source, sha256 === undefined ? undefined : parseSha256(sha256));
}

async function fetchByController(
  call: Invocation,
  client: ImageServiceClient,
  url: string,
  wanted: Sha256 | undefined,
): Promise<Image> {
  const bar = new ProgressLine(call, `fetching ${url}`);
  try {
    const { signal } = call.world;
    for await (const { message } of callStream(client.fetch.bind(client), { url, sha256: wanted ?? '' }, { signal })) {
      if (message?.$case === 'done') return message.value;
      if (message?.$case === 'progress') bar.show(message.value.receivedBytes, message.value.totalBytes);
    }
  } finally {
    bar.clear();
  }
  throw new AppError('unavailable', `the controller did not say what became of ${url}`);
}

async function sendFile(
  call: Invocation,
  client: ImageServiceClient,
  path: string,
  wanted: Sha256 | undefined,
): Promise<Image> {
  const image = await describeFile(path, wanted);
  const stream = client.put(new Metadata());
  const cancel = (): void => stream.cancel();
  call.world.signal.addEventListener('abort', cancel, { once: true });
  if (call.world.signal.aborted) cancel();
  const bar = new ProgressLine(call, `sending ${path}`);
  try {
    return await put(stream, path, image, bar);
  } catch (error) {
    throw isServiceError(error) ? fromServiceError(error) : toAppError(error);
  } finally {
    bar.clear();
    call.world.signal.removeEventListener('abort', cancel);
    stream.on('error', () => undefined);
    stream.cancel();
  }
}

/** @throws {AppError} `not_found`, `invalid` */
async function describeFile(path: string, wanted: Sha256 | undefined): Promise<Image> {
  const sizeBytes = await lookAt(path);
  const sha256 = await hashOf(path);
  if (wanted === undefined || wanted === sha256) return { sha256, sizeBytes: BigInt(sizeBytes), name: basename(path) };
  throw invalid(`${path} is not what --sha256 says: its SHA-256 is ${sha256}`, { sha256 });
}

/** @returns its length. @throws {AppError} what the controller would say of it after all of it was sent */
async function lookAt(path: string): Promise<number> {
  const found = await stat(path).catch((error: unknown) => {
    throw notFound(`there is no image ${path}: ${messageOf(error)}`, { path, hint: 'give an image file, or a URL' });
  });
  if (!found.isFile()) throw invalid(`${path} is no file`, { path, hint: 'give an image file, or a URL' });
  const file = await open(path);
  try {
    const { buffer, bytesRead } = await file.read({ buffer: Buffer.alloc(IMAGE_HEAD_BYTES), position: 0 });
    if (bytesRead === 0) throw invalid(`${path} is empty`, { path });
    const head = buffer.subarray(0, bytesRead);
    if (imageFormat(head) === 'qcow2') refuseLinkedQcow2(head);
    return found.size;
  } finally {
    await file.close();
  }
}

async function hashOf(path: string): Promise<Sha256> {
  const hash = createHash('sha256');
  for await (const bytes of createReadStream(path, { highWaterMark: CHUNK_BYTES })) hash.update(bytes as Buffer);
  return parseSha256(hash.digest('hex'));
}

type PutStream = ClientDuplexStream<PutImageRequest, PutImageResponse>;

async function put(stream: PutStream, path: string, head: Image, bar: ProgressLine): Promise<Image> {
  const answers = stream[Symbol.asyncIterator]() as AsyncIterator<PutImageResponse>;
  stream.write({ message: { $case: 'head', value: head } });
  const begun = await answerOf(answers);
  if (begun.$case === 'done') return begun.value;
  // Read beside: a refusal ends the sending.
  const done = answerOf(answers);
  const refused = done.then(
    () => undefined,
    (error: unknown) => toAppError(isServiceError(error) ? fromServiceError(error) : error),
  );
  let sent = Number(begun.value);
  for await (const bytes of createReadStream(path, { start: sent, highWaterMark: CHUNK_BYTES })) {
    const data = bytes as Buffer;
    const hasRoom = stream.write({ message: { $case: 'data', value: data } });
    sent += data.length;
    bar.show(BigInt(sent), head.sizeBytes);
    if (hasRoom) continue;
    const refusal = await Promise.race([once(stream, 'drain').then(() => undefined), refused]);
    if (refusal !== undefined) throw refusal;
  }
  stream.end();
  const last = await done;
  if (last.$case === 'done') return last.value;
  throw new AppError('unavailable', `the controller did not say what became of ${path}`);
}

async function answerOf(answers: AsyncIterator<PutImageResponse>): Promise<NonNullable<PutImageResponse['message']>> {
  const next = await answers.next();
  const message = next.done === true ? undefined : next.value.message;
  if (message !== undefined) return message;
  throw new AppError('unavailable', 'the controller ended the call without an answer');
}

/** A line of its own on a terminal, that is written over; elsewhere it is said once. */
class ProgressLine {
  private readonly call: Invocation;
  private readonly what: string;
  private shown = '';

  constructor(call: Invocation, what: string) {
    this.call = call;
    this.what = what;
  }

  show(doneBytes: bigint, totalBytes: bigint): void {
    const { stderr, env } = this.call.world;
    if (!isLive(stderr, env)) {
      if (this.shown === '') tell(this.call, this.what);
      this.shown = this.what;
      return;
    }
    const mib = `${String(doneBytes >> 20n)} MiB`;
    const text = `${this.what}: ${totalBytes === 0n ? mib : `${String((doneBytes * 100n) / totalBytes)} %`}`;
    if (text !== this.shown) stderr.write(`\r\u001b[K${text.slice(0, (stderr.columns ?? 80) - 1)}`);
    this.shown = text;
  }

  clear(): void {
    if (this.shown !== '' && isLive(this.call.world.stderr, this.call.world.env)) {
      this.call.world.stderr.write('\r\u001b[K');
    }
  }
}
