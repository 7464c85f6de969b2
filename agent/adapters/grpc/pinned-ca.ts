import { createHash, X509Certificate } from 'node:crypto';
import { connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import { AppError, messageOf, wrongState } from '../../../shared/errors.js';
import { formatDuration } from '../../../shared/domain/duration.js';
import { SERVER_NAME } from '../../../shared/grpc/server-name.js';
import { parseHostPort } from './address-list.js';

/** TCP and TLS on a slow network. */
const CONNECT_MS = 10_000;

/**
 * The CA certificate that the pin stands for, out of what the server shows. Nothing is verified here but the pin and the
 * times: the call that follows has this CA as its only root.
 *
 * @param caPin SHA-256 of the certificate (DER), hex
 * @returns PEM
 * @throws {AppError} `unavailable` (no answer), `unauthenticated` (another controller: details `impostor` is the address),
 *   `wrong_state` (the certificates are not valid at `nowMs`: a clock is off)
 */
export async function fetchPinnedCa(address: string, caPin: string, nowMs: number): Promise<string> {
  const chain = await readChain(address);
  const ca = chain.find((certificate) => createHash('sha256').update(certificate.raw).digest('hex') === caPin);
  if (ca === undefined) {
    throw new AppError('unauthenticated', `${address} is not the controller that made this token`, {
      impostor: address,
      hint: 'ask the controller for a new token: domherd host token NAME',
    });
  }
  for (const certificate of chain) checkValidity(certificate, nowMs);
  return ca.toString();
}

function checkValidity(certificate: X509Certificate, nowMs: number): void {
  const earlyMs = Date.parse(certificate.validFrom) - nowMs;
  const lateMs = nowMs - Date.parse(certificate.validTo);
  if (earlyMs <= 0 && lateMs <= 0) return;
  const behind = earlyMs > 0;
  const off = formatDuration(Math.ceil(Math.max(earlyMs, lateMs) / 1000) * 1000);
  const message = behind
    ? `The clock of this host is at least ${off} behind that of the controller`
    : `The clock of this host is ahead of that of the controller, or the controller's certificate ran out ${off} ago`;
  throw wrongState(message, { now: new Date(nowMs).toISOString(), hint: 'set the clock: chronyc makestep' });
}

function readChain(address: string): Promise<readonly X509Certificate[]> {
  const { host, port } = parseHostPort(address);
  return new Promise((resolve, reject) => {
    const socket = connect({
      host,
      port,
      servername: SERVER_NAME,
      minVersion: 'TLSv1.3',
      ALPNProtocols: ['h2'],
      rejectUnauthorized: false,
      timeout: CONNECT_MS,
    });
    const fail = (reason: string): void => {
      socket.destroy();
      reject(new AppError('unavailable', `${address}: ${reason}`));
    };
    socket.once('error', (error) => fail(messageOf(error)));
    socket.once('timeout', () => fail(`no answer in ${CONNECT_MS / 1000} s`));
    socket.once('secureConnect', () => {
      resolve(chainOf(socket));
      socket.destroy();
    });
  });
}

function chainOf(socket: TLSSocket): readonly X509Certificate[] {
  const chain: X509Certificate[] = [];
  const seen = new Set<string>();
  let next: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  // Node answers an empty object for "none", and lets a self-signed one point to itself.
  while (isCertificate(next) && !seen.has(next.fingerprint256)) {
    seen.add(next.fingerprint256);
    chain.push(new X509Certificate(next.raw));
    next = next.issuerCertificate;
  }
  return chain;
}

function isCertificate(found: DetailedPeerCertificate | undefined): found is DetailedPeerCertificate {
  return Buffer.isBuffer((found as Partial<DetailedPeerCertificate> | undefined)?.raw);
}
