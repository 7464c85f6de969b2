import { createPrivateKey, createPublicKey, sign, webcrypto, X509Certificate, type KeyObject } from 'node:crypto';

import { AppError, invalid, messageOf } from '../../../shared/errors.js';
import type { KeyMaker } from '../../ports/key-maker.js';

const P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;

export const nodeKeyMaker: KeyMaker = {
  async makeKey() {
    const { privateKey } = await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify']);
    const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', privateKey));
    return String(
      createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({ format: 'pem', type: 'pkcs8' }),
    );
  },

  async makeRequest(keyPem, host) {
    const keys = await importKeys(readKey(keyPem));
    // Once a day at most: an agent that does nothing does not pay for it.
    const { x509 } = await import('../../../shared/x509.js');
    const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' };
    const name = [{ CN: [host] }];
    const request = await x509.Pkcs10CertificateRequestGenerator.create({ name, keys, signingAlgorithm }, webcrypto);
    return `${request.toString('pem')}\n`;
  },

  sign: (keyPem, data) => sign('sha256', data, readKey(keyPem)),

  readValidity(certificatePem) {
    try {
      const { validFrom, validTo } = new X509Certificate(certificatePem);
      return { notBeforeMs: Date.parse(validFrom), notAfterMs: Date.parse(validTo) };
    } catch (error) {
      throw new AppError('invalid', `A certificate cannot be read: ${messageOf(error)}`, {}, error);
    }
  },
};

function readKey(keyPem: string): KeyObject {
  try {
    const key = createPrivateKey(keyPem);
    if (key.asymmetricKeyDetails?.namedCurve === 'prime256v1') return key;
  } catch {
    // An error of OpenSSL says nothing to a person, and may quote the key.
  }
  throw invalid('A key cannot be read: a P-256 key in PEM is expected');
}

async function importKeys(key: KeyObject): Promise<webcrypto.CryptoKeyPair> {
  const pkcs8 = key.export({ format: 'der', type: 'pkcs8' });
  const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
  const [privateKey, publicKey] = await Promise.all([
    webcrypto.subtle.importKey('pkcs8', pkcs8, P256, true, ['sign']),
    webcrypto.subtle.importKey('spki', spki, P256, true, ['verify']),
  ]);
  return { privateKey, publicKey };
}
