import { ImageServiceClient, type Image } from '../../shared/gen/domherd/v1/image.js';
import { callUnary } from '../../shared/grpc/client.js';
import { confirm } from './confirm.js';
import { withClient } from './connection.js';
import { sendImage, type ImageOptions } from './image-send.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printRows, tell, type View } from './output.js';

const MIB = 1024n * 1024n;

const VIEW: View<Image> = {
  columns: [
    { title: 'IMAGE', text: ({ sha256 }) => sha256.slice(0, 12) },
    { title: 'SIZE', text: ({ sizeBytes }) => `${String((sizeBytes + MIB - 1n) / MIB)} MiB` },
    { title: 'NAME', text: ({ name }) => name },
  ],
  json: ({ sha256, sizeBytes, name }) => ({ sha256, sizeBytes: Number(sizeBytes), name }),
  name: ({ sha256 }) => sha256,
};

export async function addImage(call: Invocation, source: string, options: ImageOptions): Promise<number> {
  printRows(call, [await sendImage(call, source, options)], VIEW);
  return 0;
}

export async function listImages(call: Invocation): Promise<number> {
  const { images } = await withClient(call, ImageServiceClient, (client) =>
    callUnary(client.list.bind(client), {}, CALL),
  );
  printRows(call, images, VIEW);
  return 0;
}

export async function deleteImage(call: Invocation, image: string, options: { yes?: boolean }): Promise<number> {
  await confirm(call, `delete the image ${image}; VMs that were made of it stay`, options.yes);
  const request = { requestId: call.requestId, image };
  const deleted = await withClient(call, ImageServiceClient, (client) =>
    callUnary(client.delete.bind(client), request, CALL),
  );
  tell(call, `the image ${deleted.image?.sha256.slice(0, 12) ?? image} is deleted`);
  return 0;
}
