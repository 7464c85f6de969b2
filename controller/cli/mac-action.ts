import { MacReason, MacServiceClient, type MacEntry } from '../../shared/gen/domherd/v1/mac.js';
import { callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printRows, type View } from './output.js';
import { enumText } from './view/enum-text.js';

const VIEW: View<MacEntry> = {
  columns: [
    { title: 'MAC', text: ({ mac }) => mac },
    { title: 'REASON', text: ({ reason }) => enumText(MacReason, reason) },
    { title: 'ADDRESS', text: ({ address }) => address || '-' },
    { title: 'OWNER', text: ({ owner }) => owner },
  ],
  json: ({ mac, reason, address, owner }) => ({
    mac,
    reason: enumText(MacReason, reason),
    address: address || null,
    owner,
  }),
  name: ({ mac }) => mac,
  addresses: ({ address }) => (address === '' ? [] : [address]),
};

export async function listMacs(call: Invocation): Promise<number> {
  const { macs } = await withClient(call, MacServiceClient, (client) => callUnary(client.list.bind(client), {}, CALL));
  printRows(call, macs, VIEW);
  return 0;
}
