import { selectHosts } from '../../shared/domain/host-selector.js';
import { expandPattern, isGlob, isPattern } from '../../shared/domain/name-pattern.js';
import { invalid, notFound } from '../../shared/errors.js';
import { HostServiceClient, type Host } from '../../shared/gen/domherd/v1/host.js';
import { callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';

/** By name. */
export async function readHosts(call: Invocation): Promise<readonly Host[]> {
  const { hosts } = await withClient(call, HostServiceClient, (client) =>
    callUnary(client.list.bind(client), {}, CALL),
  );
  return hosts;
}

/**
 * Patterns as the hosts that they match; other names as they are, joined or not. The controller is asked for patterns only.
 *
 * @throws {AppError} `not_found` when a pattern matches none, or names one that has not joined
 */
export async function expandHosts(call: Invocation, texts: readonly string[]): Promise<readonly string[]> {
  if (!texts.some(isPattern)) return texts;
  return selectHosts(texts, namesOf(await readHosts(call)));
}

/** For hosts that need not have joined: brackets only. @throws {AppError} `invalid` for a `*` */
export function expandNewHosts(texts: readonly string[]): readonly string[] {
  const glob = texts.find(isGlob);
  if (glob === undefined) return texts.flatMap((text) => (isPattern(text) ? expandPattern(text) : [text]));
  throw invalid(`"${glob}" could be any host`, {
    hint: 'name hosts that have not joined one by one, or as dom0-[1-20]',
  });
}

/** @throws {AppError} `not_found` for one that has not joined, or a pattern that matches none */
export function pickHosts(hosts: readonly Host[], texts: readonly string[]): readonly Host[] {
  const byName = new Map(hosts.map((host) => [host.name, host]));
  return selectHosts(texts, [...byName.keys()]).map((name) => {
    const host = byName.get(name.toLowerCase());
    if (host !== undefined) return host;
    throw notFound(`host "${name}" is unknown`, { host: name, hint: 'see domherd host list' });
  });
}

function namesOf(hosts: readonly Host[]): readonly string[] {
  return hosts.map(({ name }) => name);
}
