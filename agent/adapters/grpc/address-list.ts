import { AppError, toAppError } from '../../../shared/errors.js';

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Reads "host:port" and "[v6]:port". @throws {AppError} `invalid` */
export function parseHostPort(text: string): HostPort {
  const match = /^(?:\[([\da-f:.]+)\]|([^:[\]]+)):(\d{1,5})$/i.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host !== undefined && port >= 1 && port <= 65_535) return { host, port };
  throw new AppError('invalid', `"${text}" is not an address: host:port is expected`, { address: text });
}

/** Failures after which another address of the same controller may do better. */
const GOES_ON = new Set(['unavailable', 'timeout']);

/**
 * What the first address that works gives; they are asked in turn.
 *
 * @throws {AppError} what an address answered, if it was an answer; else `unavailable` with each one's reason in details
 */
export async function firstToAnswer<T>(
  addresses: readonly string[],
  ask: (address: string) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const reasons = new Map<string, string>();
  let impostor: AppError | undefined;
  for (const address of addresses) {
    if (signal.aborted) break;
    try {
      return await ask(address);
    } catch (reason) {
      const error = toAppError(reason);
      // In private networks an address may belong to another machine: the controller may still be at the next one.
      if (error.details['impostor'] === address) impostor = error;
      else if (!GOES_ON.has(error.code)) throw error;
      reasons.set(address, error.message);
    }
  }
  if (impostor !== undefined) throw impostor;
  const [first] = reasons.values();
  const list = addresses.join(', ');
  throw new AppError('unavailable', `No controller answers at ${list}: ${first ?? 'not tried'}`, {
    ...Object.fromEntries(reasons),
  });
}
