import type { AgentServiceServer } from '../../../shared/gen/domherd/v1/agent.js';
import type { ControllerServiceServer } from '../../../shared/gen/domherd/v1/controller.js';
import type { HostServiceServer } from '../../../shared/gen/domherd/v1/host.js';
import { formatIpv4 } from '../../../shared/domain/ipv4.js';
import { AppError, invalid } from '../../../shared/errors.js';
import { MAX_ADMIN_DAYS } from '../../domain/identity-rule.js';
import { parseListenAddress } from '../../domain/listen-address.js';
import type { CertificateService } from '../../services/certificate-service.js';
import type { HostRemover } from '../../services/host-remover.js';
import type { HostQuery } from '../../services/host-service.js';
import type { TokenService, TunnelEnds } from '../../services/token-service.js';
import type { Handlers } from './call.js';
import { hostToWire } from './convert-host.js';
import { inField, integerFrom, missing, timestampFromMs } from './convert.js';

const MAX_USES = 10_000;
const TTL_SECONDS = { usual: 600, min: 10, max: 86_400 } as const;

/** AgentService.Renew. */
export function renewHandlers(certificates: CertificateService): Pick<Handlers<AgentServiceServer>, 'renew'> {
  return {
    renew: async ({ csr }, { agentHost, log }) => {
      if (agentHost === undefined) throw new AppError('forbidden', 'Renew is for agents only');
      const issued = await certificates.renew(agentHost, csr);
      log.info({ host: agentHost, expiresAtMs: issued.expiresAtMs }, 'certificate renewed');
      return { certificate: issued.pem, expiresAt: timestampFromMs(issued.expiresAtMs) };
    },
  };
}

export interface HostIdentityOptions {
  readonly tokens: TokenService;
  readonly certificates: CertificateService;
  readonly hosts: HostQuery;
}

/** HostService.Remove. */
export function hostRemovalHandlers(remover: HostRemover): Pick<Handlers<HostServiceServer>, 'remove'> {
  return {
    remove: async ({ name, force, dryRun }, { caller }) => {
      if (name === '') throw missing('name');
      const removal = dryRun ? remover.preview(name, force) : await remover.remove(name, force, caller);
      return {
        vms: [...removal.vms],
        releasedAddresses: removal.releasedAddresses.map(formatIpv4),
        runningVms: [...removal.runningVms],
      };
    },
  };
}

/** HostService.CreateToken and Revoke. */
export function hostIdentityHandlers(
  options: HostIdentityOptions,
): Pick<Handlers<HostServiceServer>, 'createToken' | 'revoke'> {
  const { tokens, certificates, hosts } = options;
  return {
    createToken: async ({ host, uses, ttlSeconds, sessionAddresses, joinAddresses }, { caller }) => {
      if (host === '') throw missing('host');
      const count = integerFrom(uses || 1, 'uses', 1, MAX_USES);
      const seconds = integerFrom(ttlSeconds || TTL_SECONDS.usual, 'ttl_seconds', TTL_SECONDS.min, TTL_SECONDS.max);
      const ends = endsFrom(sessionAddresses, joinAddresses);
      const token = await tokens.create(host, count, seconds * 1000, ends, caller);
      return { token: token.text, expiresAt: timestampFromMs(token.expiresAtMs) };
    },
    revoke: async ({ name }, { caller }) => {
      if (name === '') throw missing('name');
      await certificates.revokeHost(name, caller);
      return { host: hostToWire(hosts.get(name)) };
    },
  };
}

const MAX_ENDS = 8;

/** @throws {AppError} `invalid` */
function endsFrom(session: readonly string[], join: readonly string[]): TunnelEnds | undefined {
  if (session.length === 0 && join.length === 0) return undefined;
  for (const [field, list] of Object.entries({ session_addresses: session, join_addresses: join })) {
    if (list.length === 0) throw missing(field);
    if (list.length > MAX_ENDS) throw invalid(`${field} has more than ${String(MAX_ENDS)}`, { field });
    inField(field, () => list.forEach(parseListenAddress));
  }
  return { session, join };
}

/** ControllerService.IssueCertificate and RevokeCertificate. */
export function clientCertificateHandlers(
  certificates: CertificateService,
): Pick<Handlers<ControllerServiceServer>, 'issueCertificate' | 'revokeCertificate'> {
  return {
    issueCertificate: async ({ name, csr, days }, { caller }) => {
      if (name === '') throw missing('name');
      const count = integerFrom(days || 1, 'days', 1, MAX_ADMIN_DAYS);
      const issued = await certificates.issueAdmin(name, csr, count, caller);
      return {
        certificate: issued.pem,
        caCertificate: certificates.authorityPem,
        expiresAt: timestampFromMs(issued.expiresAtMs),
      };
    },
    revokeCertificate: async ({ name }, { caller }) => {
      if (name === '') throw missing('name');
      await certificates.revokeAdmin(name, caller);
      return {};
    },
  };
}
