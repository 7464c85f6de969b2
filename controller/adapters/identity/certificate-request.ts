import { createHash, createPublicKey, webcrypto } from 'node:crypto';
import type { Pkcs10CertificateRequest } from '@peculiar/x509';
import { invalid, type AppError } from '../../../shared/errors.js';
import { x509 } from '../../../shared/x509.js';
import type { CertificateRequest } from '../../ports/certificate-authority.js';

/** One with a P-256 key is under 1 kB. */
const MAX_PEM = 8_192;
const SUBJECT_ALTERNATIVE_NAME = '2.5.29.17';

/** @throws {AppError} `invalid`, see CertificateAuthority.readRequest */
export async function readRequest(pem: string, name: string): Promise<CertificateRequest> {
  const request = parse(pem);
  checkKey(request);
  if (!(await isSelfSigned(request))) throw refused('is not signed by its own key');
  checkNames(request, name);
  return { pem, keyHash: createHash('sha256').update(Buffer.from(request.publicKey.rawData)).digest('hex') };
}

function parse(pem: string): Pkcs10CertificateRequest {
  if (pem === '') throw refused('is missing');
  if (pem.length > MAX_PEM) throw refused(`is longer than ${String(MAX_PEM)} characters`);
  try {
    return new x509.Pkcs10CertificateRequest(pem);
  } catch {
    // What the parser says is about ASN.1, and may quote the input.
    throw refused('cannot be read');
  }
}

function checkKey(request: Pkcs10CertificateRequest): void {
  if (curveOf(request) !== 'prime256v1') throw refused('has another key than P-256');
}

function curveOf(request: Pkcs10CertificateRequest): string | undefined {
  try {
    const key = createPublicKey({ key: Buffer.from(request.publicKey.rawData), format: 'der', type: 'spki' });
    return key.asymmetricKeyDetails?.namedCurve;
  } catch {
    return undefined;
  }
}

async function isSelfSigned(request: Pkcs10CertificateRequest): Promise<boolean> {
  try {
    return await request.verify(webcrypto);
  } catch {
    return false;
  }
}

function checkNames(request: Pkcs10CertificateRequest, name: string): void {
  const names = request.subjectName.getField('CN');
  const [commonName] = names;
  if (names.length !== 1 || commonName?.toLowerCase() !== name.toLowerCase()) {
    throw refused(`is not for ${name}`, { name });
  }
  const asked = request.extensions.find(({ type }) => type === SUBJECT_ALTERNATIVE_NAME);
  if (asked === undefined) return;
  const { items } = new x509.SubjectAlternativeNameExtension(asked.rawData).names;
  if (items.some(({ type, value }) => type !== 'dns' || value.toLowerCase() !== name.toLowerCase())) {
    throw refused(`asks for more names than ${name}`, { name });
  }
}

function refused(what: string, details: Readonly<Record<string, string>> = {}): AppError {
  return invalid(`The certificate request ${what}`, {
    ...details,
    field: 'csr',
    hint: 'send a PKCS #10 request in PEM: a P-256 key, the name as its only common name',
  });
}
