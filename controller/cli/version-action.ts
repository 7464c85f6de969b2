import { AppError } from '../../shared/errors.js';
import { ControllerServiceClient, type GetInfoResponse } from '../../shared/gen/domherd/v1/controller.js';
import { callUnary } from '../../shared/grpc/client.js';
import { VERSION } from '../../shared/version.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printOne, tell, type Column, type View } from './output.js';

interface Versions {
  readonly client: string;
  readonly controller: GetInfoResponse | undefined;
}

const FIELDS: readonly Column<Versions>[] = [
  { title: 'Client', text: ({ client }) => client },
  { title: 'Controller', text: ({ controller }) => controller?.version ?? 'not reachable' },
  { title: 'Protocol', text: ({ controller }) => protocolText(controller) },
  { title: 'Data', text: ({ controller }) => controller?.dataDir ?? '' },
  { title: 'Agents', text: ({ controller }) => controller?.listen ?? '' },
  { title: 'Joins', text: ({ controller }) => controller?.joinListen ?? '' },
  { title: 'Hosts', text: ({ controller }) => hostsText(controller) },
];

const VIEW: View<Versions> = {
  columns: FIELDS,
  json: ({ client, controller }) => ({
    client,
    controller: controller
      ? {
          version: controller.version,
          protocol: protocolText(controller),
          dataDir: controller.dataDir,
          listen: controller.listen,
          joinListen: controller.joinListen,
          advertised: controller.advertised,
          hosts: controller.hosts,
          hostsOnline: controller.hostsOnline,
          hostsSimulated: controller.hostsSimulated,
        }
      : null,
  }),
};

function protocolText(controller: GetInfoResponse | undefined): string {
  const protocol = controller?.protocol;
  return protocol ? `${String(protocol.major)}.${String(protocol.minor)}` : '';
}

function hostsText(controller: GetInfoResponse | undefined): string {
  if (controller === undefined) return '';
  const simulated = controller.hostsSimulated > 0 ? `, ${String(controller.hostsSimulated)} simulated` : '';
  return `${String(controller.hosts)}, ${String(controller.hostsOnline)} online${simulated}`;
}

/** A controller that is not there is part of the answer, not a failure. */
export async function showVersion(call: Invocation): Promise<number> {
  printOne(call, { client: VERSION, controller: await findController(call) }, VIEW, FIELDS);
  return 0;
}

async function findController(call: Invocation): Promise<GetInfoResponse | undefined> {
  try {
    return await withClient(call, ControllerServiceClient, (client) =>
      callUnary(client.getInfo.bind(client), {}, CALL),
    );
  } catch (error) {
    if (!(error instanceof AppError) || error.code !== 'unavailable') throw error;
    tell(call, error.message);
    return undefined;
  }
}
