import { parseIpv4 } from '../../shared/domain/ipv4.js';
import { parseHostName } from '../../shared/domain/name.js';
import { invalid } from '../../shared/errors.js';

/** Where a server listens. */
export interface ListenAddress {
  /** A name, an IPv4 address, or an IPv6 address without brackets. */
  readonly host: string;
  /** 0: any that is free. */
  readonly port: number;
}

const MAX_PORT = 65_535;

/**
 * Reads "0.0.0.0:7433", "frontend.site:7433", "[::]:7433".
 *
 * @throws {AppError} `invalid`
 */
export function parseListenAddress(text: string): ListenAddress {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const host = match?.[1] ?? match?.[2];
  if (host === undefined || port > MAX_PORT) {
    throw invalid(`"${text}" is not an address to listen on`, { hint: 'write it as 0.0.0.0:7433, [::]:7433, or off' });
  }
  return { host: match?.[1] === undefined ? parseAdvertised(host) : host, port };
}

/** The inverse of {@link parseListenAddress}. */
export function formatListenAddress({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${String(port)}` : `${host}:${String(port)}`;
}

/**
 * A name or address that agents reach the controller by; without a port, since each listener has its own.
 *
 * @throws {AppError} `invalid`
 */
export function parseAdvertised(text: string): string {
  return /^[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*$/.test(text) ? text.toLowerCase() : parseHostName(text);
}

/** Listens on all addresses of the machine, and is itself none that anybody could dial. */
export function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || /^[0:]+$/.test(host);
}

/**
 * What agents are told to dial, in the order to try.
 *
 * @param advertised as configured; none: the listener's own host, or where that is all of them, `local`
 * @param local addresses of this machine
 */
export function advertisedAddresses(
  listen: ListenAddress,
  advertised: readonly string[],
  local: readonly string[],
): readonly string[] {
  const own = isWildcard(listen.host) ? local : [listen.host];
  return (advertised.length > 0 ? advertised : own).map((host) => formatListenAddress({ host, port: listen.port }));
}

/** Of this machine only: what a default must not offer to others. */
export function isLoopback(address: string): boolean {
  return address === '::1' || (/^[0-9.]+$/.test(address) && Math.floor(parseIpv4(address) / 2 ** 24) === 127);
}
