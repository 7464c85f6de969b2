import { once } from 'node:events';
import {
  HealthCheckResponse_ServingStatus as Status,
  type HealthCheckResponse,
  type HealthServer,
} from '../../../shared/gen/grpc/health/v1/health.js';
import { notFound } from '../../../shared/errors.js';
import type { CallInfo, Handlers } from './call.js';

/**
 * A server that answers is serving: what it needs was there before it listened.
 *
 * @param services full names, as in "domherd.v1.LeaseService"
 */
export function healthHandlers(services: readonly string[]): Handlers<HealthServer> {
  const isServed = (service: string): boolean => service === '' || services.includes(service);
  return {
    check: ({ service }) => {
      if (isServed(service)) return { status: Status.SERVING };
      throw notFound(`${service} is not served here`, { service });
    },
    watch: ({ service }, call) => watch(isServed(service), call),
  };
}

async function* watch(isServed: boolean, { signal }: CallInfo): AsyncGenerator<HealthCheckResponse> {
  yield { status: isServed ? Status.SERVING : Status.SERVICE_UNKNOWN };
  if (!signal.aborted) await once(signal, 'abort');
}
