import {
  createHash,
  createPrivateKey,
  randomBytes,
  verify,
  webcrypto,
  X509Certificate,
  type KeyObject,
} from 'node:crypto';
import type { Extension, JsonGeneralNames } from '@peculiar/x509';
import { SERVER_NAME } from '../../../shared/grpc/server-name.js';
import { AppError, invalid, wrongState } from '../../../shared/errors.js';
import { x509 } from '../../../shared/x509.js';
import { formatIdentityUri, parseIdentityUri, type Subject } from '../../domain/identity-rule.js';
import type {
  CertificateAuthority,
  CertificateRequest,
  IssuedCertificate,
  ReadCertificate,
} from '../../ports/certificate-authority.js';
import type { Clock } from '../../ports/environment.js';
import { readAuthority, writeAuthority, type AuthorityFiles } from './authority-file.js';
import { readRequest } from './certificate-request.js';
import { exportKey, importKey, makeKeys, publicPart, SIGNING } from './p256.js';

const DAY_MS = 86_400_000;
/** Longer than any testbed's image lives. */
const AUTHORITY_LIFE_MS = 3_650 * DAY_MS;
/** A client whose clock is off by less gets through TLS, and is then told so in words. */
const SERVER_BACKDATED_MS = 30 * DAY_MS;
/** Twice what a host's clock may be off. */
const CLIENT_BACKDATED_MS = 10 * 60_000;

const { subtle } = webcrypto;

/** What a server needs to speak TLS. */
export interface ServerCertificate {
  /** PEM: its own certificate, then the CA's, so that a client that knows only the CA's pin can check it. */
  readonly chainPem: string;
  /** PEM. Secret. */
  readonly keyPem: string;
  readonly expiresAtMs: number;
}

interface IssueSpec {
  readonly commonName: string;
  readonly publicKey: ArrayBuffer;
  readonly names: JsonGeneralNames;
  readonly usage: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

/** A CA of P-256 keys whose two files are in the data folder. */
export class X509Authority implements CertificateAuthority {
  readonly certificatePem: string;
  readonly pin: string;
  private readonly certificate: X509Certificate;
  private readonly key: KeyObject;
  private readonly clock: Clock;

  private constructor(files: AuthorityFiles, clock: Clock) {
    this.certificatePem = files.certificatePem;
    this.certificate = new X509Certificate(files.certificatePem);
    this.key = createPrivateKey(files.keyPem);
    this.pin = createHash('sha256').update(this.certificate.raw).digest('hex');
    this.clock = clock;
  }

  /**
   * The CA of a data folder; made if there is none.
   *
   * @throws {AppError} `wrong_state` if its files do not belong together, or are open to others; `unavailable` if they
   *   cannot be read or written
   */
  static async open(dataDir: string, clock: Clock): Promise<X509Authority> {
    const found = readAuthority(dataDir);
    if (found !== undefined) return this.load(found, dataDir, clock);
    const made = await makeAuthority(clock.nowMs());
    writeAuthority(dataDir, made);
    return new X509Authority(made, clock);
  }

  private static load(files: AuthorityFiles, dataDir: string, clock: Clock): X509Authority {
    try {
      const authority = new X509Authority(files, clock);
      const certified = authority.certificate.publicKey.export({ format: 'der', type: 'spki' });
      if (certified.equals(publicPart(authority.key))) return authority;
    } catch {
      // Not PEM: as useless as a pair that does not match.
    }
    throw wrongState(`ca.crt and ca.key in ${dataDir} do not belong together`, {
      dataDir,
      hint: 'restore both from one backup, or remove both and let every host join anew',
    });
  }

  get expiresAtMs(): number {
    return Date.parse(this.certificate.validTo);
  }

  readRequest(pem: string, name: string): Promise<CertificateRequest> {
    return readRequest(pem, name);
  }

  async issue(request: CertificateRequest, subject: Subject, lifeMs: number): Promise<IssuedCertificate> {
    const nowMs = wholeSeconds(this.clock.nowMs());
    const expiresAtMs = nowMs + wholeSeconds(lifeMs);
    const { pem, serial } = await this.sign({
      commonName: subject.name,
      publicKey: new x509.Pkcs10CertificateRequest(request.pem).publicKey.rawData,
      names: [{ type: 'url', value: formatIdentityUri(subject) }],
      usage: x509.ExtendedKeyUsage.clientAuth,
      notBeforeMs: nowMs - CLIENT_BACKDATED_MS,
      notAfterMs: expiresAtMs,
    });
    return { pem, serial, issuedAtMs: nowMs, expiresAtMs };
  }

  /** A new key and certificate for our own listeners. */
  async issueServer(lifeMs: number): Promise<ServerCertificate> {
    const keys = await makeKeys();
    const nowMs = wholeSeconds(this.clock.nowMs());
    const expiresAtMs = nowMs + wholeSeconds(lifeMs);
    const { pem } = await this.sign({
      commonName: SERVER_NAME,
      publicKey: await subtle.exportKey('spki', keys.publicKey),
      names: [{ type: 'dns', value: SERVER_NAME }],
      usage: x509.ExtendedKeyUsage.serverAuth,
      notBeforeMs: nowMs - SERVER_BACKDATED_MS,
      notAfterMs: expiresAtMs,
    });
    return { chainPem: pem + this.certificatePem, keyPem: await exportKey(keys.privateKey), expiresAtMs };
  }

  readCertificate(pem: string): ReadCertificate {
    const certificate = parseCertificate(pem);
    const subject = subjectOf(certificate);
    if (!certificate.verify(this.certificate.publicKey) || subject === undefined) {
      throw new AppError('unauthenticated', 'The certificate was not issued by this controller', {
        hint: 'let the host join anew: domherd host token NAME',
      });
    }
    return {
      serial: certificate.serialNumber.toLowerCase(),
      subject,
      expiresAtMs: Date.parse(certificate.validTo),
      verify: (data, signature) => verify('sha256', data, certificate.publicKey, signature),
    };
  }

  private async sign(spec: IssueSpec): Promise<{ readonly pem: string; readonly serial: string }> {
    const serial = newSerial();
    const certificate = await x509.X509CertificateGenerator.create(
      {
        serialNumber: serial,
        subject: [{ CN: [spec.commonName] }],
        issuer: new x509.X509Certificate(this.certificatePem).subjectName,
        notBefore: new Date(spec.notBeforeMs),
        notAfter: new Date(spec.notAfterMs),
        publicKey: await subtle.importKey('spki', spec.publicKey, { name: 'ECDSA', namedCurve: 'P-256' }, true, [
          'verify',
        ]),
        signingKey: await importKey(this.key),
        signingAlgorithm: SIGNING,
        extensions: [
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          new x509.ExtendedKeyUsageExtension([spec.usage]),
          new x509.SubjectAlternativeNameExtension(spec.names),
        ],
      },
      webcrypto,
    );
    return { pem: `${certificate.toString('pem')}\n`, serial };
  }
}

async function makeAuthority(nowMs: number): Promise<AuthorityFiles> {
  const keys = await makeKeys();
  const extensions: Extension[] = [
    new x509.BasicConstraintsExtension(true, 0, true),
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
  ];
  const certificate = await x509.X509CertificateGenerator.createSelfSigned(
    {
      serialNumber: newSerial(),
      // Its own name, so that a browser or openssl tells two controllers apart.
      name: [{ CN: [`domherd CA ${randomBytes(4).toString('hex')}`] }],
      notBefore: new Date(nowMs - SERVER_BACKDATED_MS),
      notAfter: new Date(nowMs + AUTHORITY_LIFE_MS),
      signingAlgorithm: SIGNING,
      keys,
      extensions,
    },
    webcrypto,
  );
  return { certificatePem: `${certificate.toString('pem')}\n`, keyPem: await exportKey(keys.privateKey) };
}

/** 16 bytes, the first neither zero nor negative in DER: OpenSSL prints the very same digits. */
function newSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString('hex');
}

function parseCertificate(pem: string): X509Certificate {
  try {
    return new X509Certificate(pem);
  } catch {
    throw invalid('The certificate cannot be read: PEM is expected', { field: 'certificate' });
  }
}

/** `subjectAltName` as Node prints it: "URI:domherd://agent/dom0-1". */
function subjectOf(certificate: X509Certificate): Subject | undefined {
  return certificate.subjectAltName?.startsWith('URI:') === true
    ? parseIdentityUri(certificate.subjectAltName.slice('URI:'.length))
    : undefined;
}

function wholeSeconds(ms: number): number {
  return Math.floor(ms / 1000) * 1000;
}
