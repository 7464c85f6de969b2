import { wrongState } from '../../../shared/errors.js';

/** Where agents find the controller. */
export interface Endpoints {
  readonly session: readonly HostPort[];
  readonly join: readonly HostPort[];
}

export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** What the controller tells of its listeners. */
export interface ListenFacts {
  /** "host:port"; empty when off. */
  readonly listen: string;
  readonly joinListen: string;
  /** "host:port" for sessions. */
  readonly advertised: readonly string[];
}

/** @throws {AppError} `wrong_state` if agents cannot dial this controller */
export function endpointsOf({ listen, joinListen, advertised }: ListenFacts): Endpoints {
  for (const [flag, address] of Object.entries({ '--listen': listen, '--join-listen': joinListen })) {
    if (address !== '') continue;
    throw wrongState('the controller listens for no agents', { hint: `start it with ${flag} HOST:PORT` });
  }
  const session = advertised.map(splitHostPort);
  if (session.length === 0) {
    throw wrongState('the controller does not know by which address agents reach it', {
      hint: 'start it with --advertise HOST: a name or address of this machine',
    });
  }
  const { port } = splitHostPort(joinListen);
  return { session, join: session.map(({ host }) => ({ host, port })) };
}

/** "10.0.0.1:7433" or "[fd00::1]:7433". */
export function splitHostPort(text: string): HostPort {
  const match = /^(?:\[(.+)\]|(.+)):(\d+)$/.exec(text);
  return { host: match?.[1] ?? match?.[2] ?? text, port: Number(match?.[3]) };
}
