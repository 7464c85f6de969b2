import type { ControllerServiceServer } from '../../../shared/gen/domherd/v1/controller.js';
import { PROTOCOL, VERSION } from '../../../shared/version.js';
import type { Clock } from '../../ports/environment.js';
import type { Fleet } from '../../services/fleet.js';
import type { Handlers } from './call.js';
import { timestampFromMs } from './convert.js';

export interface ControllerInfo {
  readonly startedAtMs: number;
  readonly dataDir: string;
  /** "host:port" as bound; `undefined` when off. */
  readonly listen: string | undefined;
  readonly joinListen: string | undefined;
  /** "host:port" of the agents' listener, as agents are told. */
  readonly advertised: readonly string[];
}

/** ControllerService.GetInfo. */
export function infoHandlers(
  info: () => ControllerInfo,
  fleet: Fleet,
  clock: Clock,
): Pick<Handlers<ControllerServiceServer>, 'getInfo'> {
  return {
    getInfo: () => {
      const { startedAtMs, dataDir, listen, joinListen, advertised } = info();
      const hosts = fleet.hosts();
      return {
        version: VERSION,
        protocol: PROTOCOL,
        startedAt: timestampFromMs(startedAtMs),
        now: timestampFromMs(clock.nowMs()),
        dataDir,
        listen: listen ?? '',
        joinListen: joinListen ?? '',
        advertised: [...advertised],
        hosts: hosts.length,
        hostsOnline: hosts.filter(({ state }) => state === 'online').length,
        hostsSimulated: hosts.filter(({ host }) => host.isSimulated).length,
      };
    },
  };
}
