import type { Identity } from '../domain/identity.js';
import type { DownMessage, Hello, UpMessage, Welcome } from '../domain/session-message.js';

/** A console on its way to the controller, on a connection of its own: one that is slow delays no order. */
export interface ConsoleStream {
  /** What is typed, once; ends when nobody is attached any more. @throws {AppError} what cut it */
  readonly typed: AsyncIterable<Uint8Array>;

  /** Resolves when it went to the network. @throws {AppError} `unavailable` */
  send(output: Uint8Array): Promise<void>;

  /** There is no more; the controller ends the stream then. @param reason for people @throws {AppError} `unavailable` */
  end(reason: string): Promise<void>;

  /** Cuts it. Idempotent. */
  close(): void;
}

/** One session with the controller. It is over when {@link messages} ends or throws. */
export interface SessionChannel {
  /** The one that answered, "host:port". */
  readonly address: string;
  readonly welcome: Welcome;

  /** What the controller says, once; leaving the loop closes. @throws {AppError} what ended the session */
  readonly messages: AsyncIterable<DownMessage>;

  /** Resolves when it went to the network, which is when the next may be sent. @throws {AppError} `unavailable` */
  send(message: UpMessage): Promise<void>;

  /**
   * @param request PEM, PKCS #10
   * @returns the new certificate, PEM
   * @throws {AppError} `invalid`, `unauthenticated` (revoked), `unavailable`, `timeout`
   */
  renew(request: string, signal: AbortSignal): Promise<string>;

  /**
   * The stream that an order asked for. It outlives the session.
   *
   * @param note for people, told to whom the console is shown
   */
  openConsole(consoleId: string, note: string | undefined): ConsoleStream;

  /** Idempotent. */
  close(): void;
}

export interface ControllerLink {
  /**
   * Tries the identity's addresses in turn and says hello.
   *
   * @throws {AppError} `unavailable` (none answers: details say why, by address), `unauthenticated` (revoked, restored
   *   image), `wrong_state` (protocol version: the side to upgrade is named)
   */
  connect(identity: Identity, hello: Hello, signal: AbortSignal): Promise<SessionChannel>;
}
