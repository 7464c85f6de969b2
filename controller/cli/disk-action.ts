import { DiskServiceClient } from '../../shared/gen/domherd/v1/disk.js';
import { callUnary } from '../../shared/grpc/client.js';
import { notFound } from '../../shared/errors.js';
import { withClient } from './connection.js';
import { isTable } from './format.js';
import { expandHosts } from './host-selection.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printRows, tell } from './output.js';
import { STORE_VIEW, storeRows } from './view/store-view.js';

export interface DiskOptions {
  readonly host?: readonly string[];
}

export async function listStores(call: Invocation, options: DiskOptions): Promise<number> {
  const wanted = await expandHosts(call, options.host ?? []);
  const [only = '', ...more] = wanted;
  const { hosts: listed } = await withClient(call, DiskServiceClient, (client) =>
    callUnary(client.listStores.bind(client), { host: more.length === 0 ? only : '' }, CALL),
  );
  const hosts = more.length === 0 ? listed : listed.filter(({ host }) => wanted.includes(host));
  const missing = more.length === 0 ? undefined : wanted.find((name) => !hosts.some(({ host }) => host === name));
  if (missing !== undefined) throw notFound(`host "${missing}" is unknown`, { hint: 'see domherd host list' });
  printRows(call, hosts.flatMap(storeRows), STORE_VIEW);
  if (!isTable(call.format)) return 0;
  for (const { host, known } of hosts) if (!known) tell(call, `${host}: the host has not told of its stores yet`);
  if (hosts.length === 0) tell(call, 'no host has joined: domherd host token NAME');
  return 0;
}
