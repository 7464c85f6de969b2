import { HostServiceClient, type BridgesOfHost } from '../../shared/gen/domherd/v1/host.js';
import { callUnary } from '../../shared/grpc/client.js';
import { notFound } from '../../shared/errors.js';
import { withClient } from './connection.js';
import { isTable } from './format.js';
import { expandHosts } from './host-selection.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printRows, tell } from './output.js';
import { bridgeRows, BRIDGE_VIEW } from './view/bridge-view.js';

export interface BridgeOptions {
  readonly host?: readonly string[];
}

export async function listBridges(call: Invocation, options: BridgeOptions): Promise<number> {
  const wanted = await expandHosts(call, options.host ?? []);
  const [only = '', ...more] = wanted;
  const { hosts: listed } = await withClient(call, HostServiceClient, (client) =>
    callUnary(client.listBridges.bind(client), { host: more.length === 0 ? only : '' }, CALL),
  );
  const hosts = more.length === 0 ? listed : listed.filter(({ host }) => wanted.includes(host));
  const missing = more.length === 0 ? undefined : wanted.find((name) => !hosts.some(({ host }) => host === name));
  if (missing !== undefined) throw notFound(`host "${missing}" is unknown`, { hint: 'see domherd host list' });
  printRows(call, hosts.flatMap(bridgeRows), BRIDGE_VIEW);
  if (!isTable(call.format)) return 0;
  for (const line of new Set(hosts.map(explain))) tell(call, line);
  if (hosts.length === 0) tell(call, 'no host has joined: domherd host token NAME');
  return 0;
}

/** Why it is the default, or why a VM whose cfg names no bridge is refused. */
function explain({ host, known, defaultBridge, defaultReason }: BridgesOfHost): string {
  if (!known) return `${host}: ${defaultReason}`;
  return defaultBridge === ''
    ? `${host}: no default: ${defaultReason}`
    : `${host}: default ${defaultBridge}: ${defaultReason}`;
}
