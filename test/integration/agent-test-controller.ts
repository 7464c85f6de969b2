import { randomBytes } from 'node:crypto';
import {
  Server,
  ServerCredentials,
  status,
  type handleUnaryCall,
  type ServerDuplexStream,
  type ServiceError,
} from '@grpc/grpc-js';
import { X509Authority } from '../../controller/adapters/identity/x509-authority.js';
import { formatJoinToken } from '../../shared/domain/join-token.js';
import { AppError, toAppError } from '../../shared/errors.js';
import { toStatus } from '../../shared/grpc/status.js';
import {
  AgentServiceService,
  JoinServiceService,
  type AgentMessage,
  type ConfigureVm,
  type ControllerMessage,
  type Hello,
  type JoinRequest,
  type JoinResponse,
  type Order,
  type OrderResult,
  type RenewRequest,
  type RenewResponse,
} from '../../shared/gen/domherd/v1/agent.js';

const DAY_MS = 86_400_000;
const SYSTEM_CLOCK = { nowMs: () => Date.now() };

type Stream = ServerDuplexStream<AgentMessage, ControllerMessage>;
type UpMessage = NonNullable<AgentMessage['message']>;

/** One session of an agent, as its controller sees it. */
export class TestSession {
  readonly hello: Hello;
  readonly messages: UpMessage[] = [];
  readonly #stream: Stream;
  readonly #waiting = new Set<() => void>();

  constructor(stream: Stream, hello: Hello) {
    this.#stream = stream;
    this.hello = hello;
  }

  take(message: UpMessage): void {
    this.messages.push(message);
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  /** The first message, past or to come, that `pick` makes something of. */
  async wait<T>(pick: (message: UpMessage) => T | undefined): Promise<T> {
    for (let seen = 0; ;) {
      while (seen < this.messages.length) {
        const message = this.messages[seen];
        const picked = message && pick(message);
        if (picked !== undefined) return picked;
        seen += 1;
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
  }

  results(orderId: string): readonly OrderResult[] {
    return this.messages.flatMap((one) => (one.$case === 'result' && one.value.orderId === orderId ? [one.value] : []));
  }

  result(orderId: string): Promise<OrderResult> {
    return this.wait((one) => (one.$case === 'result' && one.value.orderId === orderId ? one.value : undefined));
  }

  say(message: NonNullable<ControllerMessage['message']>): void {
    this.#stream.write({ message });
  }

  /** Sends an order and waits for its first result. */
  order(orderId: string, vmKey: string, action: Order['action'], timeoutMs = 30_000): Promise<OrderResult> {
    this.say({ $case: 'order', value: { orderId, vmKey, timeoutMs, action } });
    return this.result(orderId);
  }

  drop(code = status.UNAVAILABLE): void {
    this.#stream.emit('error', { code, details: 'dropped' });
  }
}

/** What a controller is to an agent, and nothing more: it signs what it is asked to and says what a test wants. */
export class TestController {
  readonly authority: X509Authority;
  readonly joins: JoinRequest[] = [];
  readonly sessions: TestSession[] = [];
  /** Of the certificates to come; each join or renewal takes one, then it is a day. */
  readonly lives: number[] = [];
  renewals = 0;
  joinAddress = '';
  sessionAddress = '';
  heartbeatMs = 60_000;
  readonly #secret = randomBytes(32).toString('hex');
  readonly #servers: Server[] = [];
  #tell = (): void => undefined;

  private constructor(authority: X509Authority) {
    this.authority = authority;
  }

  static async start(dataDir: string): Promise<TestController> {
    const controller = new TestController(await X509Authority.open(dataDir, SYSTEM_CLOCK));
    await controller.#listen();
    return controller;
  }

  /** @param joinAddresses instead of its own */
  token(joinAddresses = [this.joinAddress], caPin = this.authority.pin): string {
    return formatJoinToken({ secret: this.#secret, caPin, joinAddresses, hostPattern: '*' });
  }

  /** The n-th session, from 1, past or to come, when it has said everything. */
  async session(n: number): Promise<TestSession> {
    for (;;) {
      const session = this.sessions[n - 1];
      if (session !== undefined) {
        await session.wait((message) => (message.$case === 'fullState' ? true : undefined));
        return session;
      }
      await new Promise<void>((resolve) => (this.#tell = resolve));
    }
  }

  stop(): void {
    for (const server of this.#servers) server.forceShutdown();
  }

  async #listen(): Promise<void> {
    const { chainPem, keyPem } = await this.authority.issueServer(DAY_MS);
    const pair = { cert_chain: Buffer.from(chainPem), private_key: Buffer.from(keyPem) };
    const join = new Server();
    join.addService(JoinServiceService, { join: this.#unary((request: JoinRequest) => this.#join(request)) });
    this.joinAddress = await bind(join, ServerCredentials.createSsl(null, [pair], false));
    const sessions = new Server();
    sessions.addService(AgentServiceService, {
      session: (stream: Stream) => this.#serve(stream),
      renew: this.#unary((request: RenewRequest) => this.#renew(request)),
    });
    const ca = Buffer.from(this.authority.certificatePem);
    this.sessionAddress = await bind(sessions, ServerCredentials.createSsl(ca, [pair], true));
    this.#servers.push(join, sessions);
  }

  #unary<Req, Res>(handle: (request: Req) => Promise<Res>): handleUnaryCall<Req, Res> {
    return (call, respond) => {
      handle(call.request).then(
        (response) => respond(null, response),
        (error: unknown) => respond(toStatus(toAppError(error)) as Partial<ServiceError>),
      );
    };
  }

  async #join(request: JoinRequest): Promise<JoinResponse> {
    this.joins.push(request);
    const { proof } = request;
    const isGood =
      proof?.$case === 'tokenSecret'
        ? proof.value === this.#secret
        : proof !== undefined &&
          this.authority
            .readCertificate(proof.value.certificate)
            .verify(Buffer.from(request.csr), proof.value.signature);
    if (!isGood) throw new AppError('unauthenticated', 'The token is not known');
    return { ...(await this.#sign(request.csr, request.host)), addresses: [this.sessionAddress] };
  }

  async #renew(request: RenewRequest): Promise<RenewResponse> {
    this.renewals += 1;
    const host = this.joins[0]?.host ?? '';
    const { certificate, expiresAt } = await this.#sign(request.csr, host);
    return { certificate, expiresAt };
  }

  async #sign(csr: string, host: string): Promise<Omit<JoinResponse, 'addresses'>> {
    const request = await this.authority.readRequest(csr, host);
    const lifeMs = this.lives.shift() ?? DAY_MS;
    const issued = await this.authority.issue(request, { role: 'agent', name: host }, lifeMs);
    return {
      certificate: issued.pem,
      caCertificate: this.authority.certificatePem,
      expiresAt: new Date(issued.expiresAtMs),
    };
  }

  #serve(stream: Stream): void {
    let session: TestSession | undefined;
    stream.on('data', ({ message }: AgentMessage) => {
      if (message?.$case === 'hello') {
        session = new TestSession(stream, message.value);
        const welcome = { heartbeatMs: this.heartbeatMs, controllerVersion: 'test', now: new Date() };
        session.say({ $case: 'welcome', value: welcome });
        this.sessions.push(session);
        this.#tell();
      } else if (message !== undefined) {
        session?.take(message);
      }
    });
    stream.on('end', () => stream.end());
    stream.on('error', () => undefined);
  }
}

export const LEASE_ENDS_AT = new Date('2030-01-01T00:00:00Z');

/** What gives vif 0 this address, with a /14's settings. */
export function configureOrder(address: string, mac: string): { $case: 'configure'; value: ConfigureVm } {
  const settings = { prefixLength: 14, broadcast: '10.183.255.255', gateway: '10.183.255.254', dns: [], domain: '' };
  const vif = { index: 0, mac, address, settings, defaultRoute: true, bridge: '', leaseEndsAt: LEASE_ENDS_AT };
  return { $case: 'configure', value: { vifs: [vif], hostname: 'domU' } };
}

function bind(server: Server, credentials: ServerCredentials): Promise<string> {
  return new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, port) => {
      if (error) reject(error);
      else resolve(`127.0.0.1:${port}`);
    });
  });
}
