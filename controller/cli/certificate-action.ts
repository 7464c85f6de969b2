import { createPrivateKey, webcrypto } from 'node:crypto';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { invalid, messageOf } from '../../shared/errors.js';
import { ControllerServiceClient } from '../../shared/gen/domherd/v1/controller.js';
import { callUnary } from '../../shared/grpc/client.js';
import { x509 } from '../../shared/x509.js';
import { confirm } from './confirm.js';
import { withClient } from './connection.js';
import { isData } from './format.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { formatLocalLong } from './local-time.js';
import { tell } from './output.js';

export interface IssueOptions {
  readonly out: string;
  readonly days?: number;
}

const P256 = { name: 'ECDSA', namedCurve: 'P-256' } as const;
const SIGNING = { name: 'ECDSA', hash: 'SHA-256' } as const;

/** The key never leaves this machine: only a request to sign its public half does. */
async function makeKeyAndRequest(name: string): Promise<{ readonly keyPem: string; readonly csrPem: string }> {
  const keys = await webcrypto.subtle.generateKey(P256, true, ['sign', 'verify']);
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey));
  const keyPem = createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }).export({ format: 'pem', type: 'pkcs8' });
  const options = { name: [{ CN: [name] }], keys, signingAlgorithm: SIGNING };
  const request = await x509.Pkcs10CertificateRequestGenerator.create(options, webcrypto);
  return { keyPem: String(keyPem), csrPem: `${request.toString('pem')}\n` };
}

/**
 * Before anything is signed: a certificate that cannot be kept is nobody's.
 *
 * @returns the outermost folder that was made, if any
 */
function makeFolder(path: string): string | undefined {
  try {
    return mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw invalid(`${path} cannot be made: ${messageOf(error)}`, { path, hint: 'name a folder that you may write to' });
  }
}

export async function issueCertificate(call: Invocation, name: string, options: IssueOptions): Promise<number> {
  const made = makeFolder(options.out);
  try {
    return await issueInto(call, name, options);
  } catch (error) {
    if (made !== undefined) rmSync(made, { recursive: true });
    throw error;
  }
}

async function issueInto(call: Invocation, name: string, options: IssueOptions): Promise<number> {
  const { keyPem, csrPem } = await makeKeyAndRequest(name);
  const request = { requestId: call.requestId, name, csr: csrPem, days: options.days ?? 0 };
  const issued = await withClient(call, ControllerServiceClient, (client) =>
    callUnary(client.issueCertificate.bind(client), request, CALL),
  );
  writeFileSync(join(options.out, 'key.pem'), keyPem, { mode: 0o600 });
  writeFileSync(join(options.out, 'cert.pem'), issued.certificate);
  writeFileSync(join(options.out, 'ca.pem'), issued.caCertificate);
  const expiresAt = issued.expiresAt ?? new Date(call.world.nowMs());
  if (isData(call.format)) {
    call.world.stdout.write(call.writeData([{ name, folder: options.out, expiresAt: expiresAt.toISOString() }]));
  } else {
    const until = formatLocalLong(expiresAt.getTime(), call.world.timeZone());
    tell(call, `${options.out} has key.pem, cert.pem and ca.pem of ${name}, good until ${until}`);
  }
  return 0;
}

export async function revokeCertificate(call: Invocation, name: string, options: { yes?: boolean }): Promise<number> {
  await confirm(call, `refuse all certificates of ${name} from now on`, options.yes);
  await withClient(call, ControllerServiceClient, (client) =>
    callUnary(client.revokeCertificate.bind(client), { requestId: call.requestId, name }, CALL),
  );
  tell(call, `the certificates of ${name} are revoked`);
  return 0;
}
