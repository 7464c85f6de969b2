import { invalid, notFound } from '../../shared/errors.js';
import { HostServiceClient, type Host } from '../../shared/gen/domherd/v1/host.js';
import { callUnary } from '../../shared/grpc/client.js';
import { confirm } from './confirm.js';
import { withClient } from './connection.js';
import { expandHosts, pickHosts, readHosts } from './host-selection.js';
import { tunnelText } from './host-tunnel-action.js';
import { isData, isTable } from './format.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { formatLocalLong } from './local-time.js';
import { printOne, printRows, tell } from './output.js';
import { hostFields, hostView, via } from './view/host-view.js';

export interface TokenOptions {
  readonly uses?: number;
  /** Milliseconds. */
  readonly ttl?: number;
}

/** @param names hosts or patterns; none: all */
export async function listHosts(call: Invocation, names: readonly string[]): Promise<number> {
  const all = await readHosts(call);
  const hosts = names.length === 0 ? all : pickHosts(all, names);
  printRows(call, hosts, hostView(call.world.timeZone()));
  if (hosts.length === 0 && isTable(call.format)) {
    tell(call, 'no host has joined; let some in: domherd host add NODE..., or --file $OAR_NODE_FILE');
  }
  return 0;
}

export async function showHost(call: Invocation, text: string): Promise<number> {
  const [name = text, ...more] = await expandHosts(call, [text]);
  if (more.length > 0) throw invalid(`"${text}" is ${String(more.length + 1)} hosts`, { hint: 'name one of them' });
  const { host } = await withClient(call, HostServiceClient, (client) =>
    callUnary(client.get.bind(client), { name }, CALL),
  );
  const tunnel = host !== undefined && via(host) === 'ssh' ? await tunnelText(call, name) : '';
  printHost(call, host, name, tunnel);
  return 0;
}

export async function createToken(call: Invocation, host: string, options: TokenOptions): Promise<number> {
  const ttlSeconds = Math.ceil((options.ttl ?? 0) / 1_000);
  const request = {
    requestId: call.requestId,
    host,
    uses: options.uses ?? 0,
    ttlSeconds,
    sessionAddresses: [],
    joinAddresses: [],
  };
  const made = await withClient(call, HostServiceClient, (client) =>
    callUnary(client.createToken.bind(client), request, CALL),
  );
  const expiresAt = made.expiresAt ?? new Date(call.world.nowMs());
  const json = [{ token: made.token, expiresAt: expiresAt.toISOString() }];
  call.world.stdout.write(isData(call.format) ? call.writeData(json) : `${made.token}\n`);
  tell(
    call,
    `a secret, until ${formatLocalLong(expiresAt.getTime(), call.world.timeZone())}; pipe it into: domherd-agent join`,
  );
  return 0;
}

export async function revokeHosts(
  call: Invocation,
  texts: readonly string[],
  options: { yes?: boolean },
): Promise<number> {
  const names = [...new Set(await expandHosts(call, texts))];
  const question =
    names.length === 1
      ? `revoke the certificate of ${names.join(' ')}, so that it must join anew`
      : `revoke the certificates of ${names.join(' ')}, so that they must join anew`;
  await confirm(call, question, options.yes);
  const hosts = await withClient(call, HostServiceClient, async (client) => {
    const revoked: Host[] = [];
    for (const name of names) {
      const request = { requestId: names.length === 1 ? call.requestId : call.world.newId(), name };
      const { host } = await callUnary(client.revoke.bind(client), request, CALL);
      if (host !== undefined) revoked.push(host);
      if (isTable(call.format)) tell(call, `${name} is revoked; its VMs are left alone`);
    }
    return revoked;
  });
  if (!isTable(call.format)) printRows(call, hosts, hostView(call.world.timeZone()));
  return 0;
}

function printHost(call: Invocation, host: Host | undefined, name: string, tunnel = ''): void {
  if (host === undefined) throw notFound(`the controller told nothing of host ${name}`);
  const timeZone = call.world.timeZone();
  printOne(call, host, hostView(timeZone), hostFields(timeZone, tunnel));
}
