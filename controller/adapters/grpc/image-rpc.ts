import type { AgentServiceServer } from '../../../shared/gen/domherd/v1/agent.js';
import type {
  FetchImageResponse,
  Image,
  ImageChunk,
  ImageServiceServer,
  PutImageRequest,
  PutImageResponse,
} from '../../../shared/gen/domherd/v1/image.js';
import { AppError, invalid } from '../../../shared/errors.js';
import { parseSha256 } from '../../../shared/domain/sha256.js';
import type { StoredImage } from '../../ports/image-store.js';
import type { Fleet } from '../../services/fleet.js';
import { optionalSha256, type ImageService } from '../../services/image-service.js';
import type { Bidi, Handlers } from './call.js';
import { inField, missing, optionalTextFrom } from './convert.js';

const MAX_CHUNK_BYTES = 1024 * 1024;
const MAX_NAME = 1_024;

export function imageHandlers(images: ImageService): Handlers<ImageServiceServer> {
  return {
    put: putHandler(images),
    fetch: async function* ({ url, sha256 }, { signal }) {
      if (url === '') throw missing('url');
      const wanted = inField('sha256', () => optionalSha256(sha256));
      for await (const each of images.fetch(url, wanted, signal)) yield fetchedToWire(each);
    },
    list: async () => ({ images: (await images.list()).map(imageToWire) }),
    delete: async ({ image }) => {
      if (image === '') throw missing('image');
      return { image: imageToWire(await images.remove(image)) };
    },
  };
}

/** What an agent asks for while it makes a VM. */
export function receiveImageHandlers(
  images: ImageService,
  fleet: Fleet,
): Pick<Handlers<AgentServiceServer>, 'receiveImage'> {
  return {
    receiveImage: async function* ({ sha256 }, { agentHost }) {
      if (agentHost === undefined) throw new AppError('forbidden', 'images are read by agents only');
      const hash = inField('sha256', () => parseSha256(sha256));
      for await (const data of images.read(fleet.host(agentHost).host.id, hash)) {
        yield { data: Buffer.from(data.buffer, data.byteOffset, data.byteLength) } satisfies ImageChunk;
      }
    },
  };
}

function putHandler(images: ImageService): Bidi<PutImageRequest, PutImageResponse> {
  return async function* (requests) {
    const messages = requests[Symbol.asyncIterator]();
    const { sha256, sizeBytes, name } = await readHead(messages);
    const begun = await images.begin({ sha256, sizeBytes });
    if (!('offset' in begun)) {
      yield { message: { $case: 'done', value: imageToWire(begun) } };
      return;
    }
    try {
      yield { message: { $case: 'offset', value: BigInt(begun.offset) } };
      const image = await images.receive(begun, name, dataOf(messages));
      yield { message: { $case: 'done', value: imageToWire(image) } };
    } finally {
      await begun.close();
    }
  };
}

async function readHead(messages: AsyncIterator<PutImageRequest>): Promise<StoredImage> {
  const first = await messages.next();
  const message = first.done === true ? undefined : first.value.message;
  if (message?.$case !== 'head') throw invalid('message is not head, with which an image begins', { field: 'message' });
  const { sha256, sizeBytes, name } = message.value;
  const size = Number(sizeBytes);
  if (!Number.isSafeInteger(size) || size < 1) throw invalid('size_bytes is 0', { field: 'head.size_bytes' });
  return {
    sha256: inField('head.sha256', () => parseSha256(sha256)),
    sizeBytes: size,
    name: optionalTextFrom(name, 'head.name', MAX_NAME) ?? 'image',
  };
}

async function* dataOf(messages: AsyncIterator<PutImageRequest>): AsyncGenerator<Uint8Array, void, undefined> {
  for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
    const { message } = next.value;
    if (message?.$case !== 'data') throw invalid('message is not data', { field: 'message' });
    if (message.value.length > MAX_CHUNK_BYTES) throw invalid('data has more than 1 MiB', { field: 'data' });
    yield message.value;
  }
}

function imageToWire({ sha256, sizeBytes, name }: StoredImage): Image {
  return { sha256, sizeBytes: BigInt(sizeBytes), name };
}

type Fetched = { readonly receivedBytes: number; readonly totalBytes: number | undefined } | StoredImage;

function fetchedToWire(each: Fetched): FetchImageResponse {
  if ('sha256' in each) return { message: { $case: 'done', value: imageToWire(each) } };
  const { receivedBytes, totalBytes = 0 } = each;
  const value = { receivedBytes: BigInt(receivedBytes), totalBytes: BigInt(totalBytes) };
  return { message: { $case: 'progress', value } };
}
