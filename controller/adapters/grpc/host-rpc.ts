import type { HostServiceServer } from '../../../shared/gen/domherd/v1/host.js';
import type { HostQuery } from '../../services/host-service.js';
import type { Handlers } from './call.js';
import type { BridgeQuery } from '../../services/bridge-query.js';
import { bridgesToWire } from './convert-bridge.js';
import { optionalTextFrom } from './convert.js';
import { hostToWire } from './convert-host.js';

/** List and Get; CreateToken and Revoke belong to identity. */
export function hostQueryHandlers(query: HostQuery): Pick<Handlers<HostServiceServer>, 'list' | 'get'> {
  return {
    list: () => ({ hosts: query.list().map(hostToWire) }),
    get: ({ name }) => ({ host: hostToWire(query.get(name)) }),
  };
}

export function bridgeHandlers(query: BridgeQuery): Pick<Handlers<HostServiceServer>, 'listBridges'> {
  return {
    listBridges: ({ host }) => ({ hosts: query.list(optionalTextFrom(host, 'host', 255)).map(bridgesToWire) }),
  };
}
