import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { credentials, type ChannelCredentials, type Client, type ClientOptions } from '@grpc/grpc-js';
import { MAX_SOCKET_PATH_BYTES, socketCandidates } from '../../shared/domain/socket-path.js';
import { AppError, invalid, messageOf } from '../../shared/errors.js';
import { SERVER_NAME } from '../../shared/grpc/server-name.js';
import type { Invocation } from './invocation.js';
import { tell } from './output.js';

type ClientClass<Service extends Client> = new (
  address: string,
  credentials: ChannelCredentials,
  options?: ClientOptions,
) => Service;

interface Target {
  /** As grpc-js takes it. */
  readonly address: string;
  /** For people. */
  readonly where: string;
  readonly credentials: ChannelCredentials;
  readonly options: ClientOptions;
}

/** A /14 of leases comes in batches of 1,000; an import may be 12 MiB. */
const MAX_MESSAGE_BYTES = 16 * 1024 * 1024;

/**
 * Runs `work` with a client of the controller, and closes it.
 *
 * @throws {AppError} what `work` threw; `unavailable` with the place that was tried when no controller answers there
 */
export async function withClient<Service extends Client, T>(
  call: Invocation,
  service: ClientClass<Service>,
  work: (client: Service) => Promise<T>,
): Promise<T> {
  const target = findTarget(call);
  if (call.global.verbose) tell(call, `controller ${target.where}, request id ${call.requestId}`);
  const client = new service(target.address, target.credentials, target.options);
  try {
    return await work(client);
  } catch (error) {
    throw nameTarget(error, target);
  } finally {
    client.close();
  }
}

/** grpc-js tells of a refused connection in words of its own. */
function nameTarget(error: unknown, target: Target): unknown {
  if (!(error instanceof AppError) || error.code !== 'unavailable' || !error.message.startsWith('No connection'))
    return error;
  return absent(target.where, error);
}

function absent(where: string, cause?: unknown): AppError {
  const hint = 'start one: domherd-controller serve; or say where it is: --socket FILE, DOMHERD_SOCKET';
  return new AppError('unavailable', `no controller answers at ${where}`, { hint }, cause);
}

function findTarget(call: Invocation): Target {
  const { controller, identity } = call.global;
  if (controller !== undefined) return tcpTarget(controller, identity);
  if (identity !== undefined) {
    throw invalid('--identity is for --controller: a socket asks for none', { hint: 'add --controller HOST:PORT' });
  }
  const path = findSocket(call);
  const options = { 'grpc.max_receive_message_length': MAX_MESSAGE_BYTES };
  return { address: `unix:${path}`, where: path, credentials: credentials.createInsecure(), options };
}

function findSocket(call: Invocation): string {
  const { env, user } = call.world;
  const given = call.global.socket ?? env['DOMHERD_SOCKET'];
  if (given) return checkedSocket(given);
  const { uid, home } = user();
  const candidates = socketCandidates({
    uid,
    home,
    xdgDataHome: env['XDG_DATA_HOME'],
    xdgRuntimeDir: env['XDG_RUNTIME_DIR'],
  });
  const found = candidates.find((path) => existsSync(path));
  if (found === undefined) throw absent(candidates.join(' or '));
  return found;
}

function checkedSocket(path: string): string {
  const bytes = Buffer.byteLength(path);
  if (bytes > MAX_SOCKET_PATH_BYTES) {
    throw invalid(`the socket path has ${String(bytes)} bytes, a unix socket takes ${String(MAX_SOCKET_PATH_BYTES)}`, {
      path,
      hint: 'start the controller with a shorter --socket, for example under /tmp or $XDG_RUNTIME_DIR',
    });
  }
  if (!existsSync(path)) throw absent(path);
  return path;
}

function tcpTarget(address: string, identity: string | undefined): Target {
  if (identity === undefined) {
    throw invalid('--controller needs --identity: the controller wants a certificate over TCP', {
      hint: 'make one where its socket is: domherd certificate issue NAME --out DIR',
    });
  }
  const read = (name: string): Buffer => readIdentity(join(identity, name));
  return {
    address,
    where: address,
    credentials: credentials.createSsl(read('ca.pem'), read('key.pem'), read('cert.pem')),
    options: {
      'grpc.ssl_target_name_override': SERVER_NAME,
      'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    },
  };
}

function readIdentity(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw invalid(`the identity cannot be read: ${messageOf(error)}`, {
      hint: '--identity is a folder with key.pem, cert.pem and ca.pem, made by: domherd certificate issue NAME --out DIR',
    });
  }
}
