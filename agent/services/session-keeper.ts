import type { Logger } from 'pino';
import { AppError, messageOf, toAppError } from '../../shared/errors.js';
import { backoffMs } from '../domain/backoff.js';
import type { Identity } from '../domain/identity.js';
import type { OrderProgress, OrderResult } from '../domain/order.js';
import type { Hello } from '../domain/session-message.js';
import type { AgentRecord, AgentStatus } from '../ports/agent-record.js';
import type { ConsoleStream, ControllerLink, SessionChannel } from '../ports/controller-link.js';
import type { CfgFolder } from '../ports/cfg-folder.js';
import type { Renewal } from './renewal.js';
import { Session, type SessionParts } from './session.js';
import { sleep } from './sleep.js';

/** A session that lived this long was no accident: the next failure starts from the shortest wait again. */
export const STABLE_MS = 30_000;

export interface SessionKeeperParts extends SessionParts {
  readonly cfgFolder: Pick<CfgFolder, 'path'>;
  readonly link: ControllerLink;
  readonly renewal: Renewal;
  readonly record: AgentRecord;
  /** 0 (included) to 1 (excluded). */
  readonly random: () => number;
  /** The process, for the status. */
  readonly about: Pick<AgentStatus, 'version' | 'pid' | 'startedAtMs'>;
}

/** Keeps one session with the controller open, for ever. */
export class SessionKeeper {
  readonly #parts: SessionKeeperParts;
  readonly #log: Logger;
  #session: Session | undefined;
  #channel: SessionChannel | undefined;

  constructor(parts: SessionKeeperParts) {
    this.#parts = parts;
    this.#log = parts.log;
  }

  /** Until the signal is aborted; never throws. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#parts;
    let failures = 0;
    for (;;) {
      const startedMs = clock.nowMs();
      const error = await this.#runOnce(signal).then(
        () => undefined,
        (reason: unknown) => toAppError(reason),
      );
      if (signal.aborted) break;
      if (clock.nowMs() - startedMs >= STABLE_MS) failures = 0;
      const retryInMs = backoffMs(failures, random());
      failures += 1;
      const reason = error === undefined ? 'the controller ended the session' : error.message;
      this.#log.warn({ reason, code: error?.code, details: error?.details, retryInMs }, 'no link to the controller');
      await this.#writeClosed(reason);
      if (!(await sleep(clock, retryInMs, signal))) break;
    }
    await this.#writeClosed('the agent was stopped');
  }

  stateChanged(): void {
    this.#session?.stateChanged();
  }

  progressed(progress: OrderProgress): void {
    this.#session?.sendProgress(progress);
  }

  /** Sent now, or in the next session. */
  finished(result: OrderResult): void {
    this.#parts.outbox.add(result);
    this.#session?.sendResult(result);
    this.stateChanged();
  }

  /** An order came again whose result is known; as {@link finished}. */
  repeated(result: OrderResult): void {
    this.#parts.outbox.add(result);
    this.#session?.sendAgain(result);
  }

  /** @throws {AppError} `unavailable` if there is no session */
  openConsole(consoleId: string, note: string | undefined): ConsoleStream {
    if (this.#channel !== undefined) return this.#channel.openConsole(consoleId, note);
    throw new AppError('unavailable', 'The controller cannot be reached now');
  }

  async #runOnce(signal: AbortSignal): Promise<void> {
    const identity = await this.#parts.renewal.validIdentity(signal);
    const hello = await this.#makeHello(identity);
    const channel = await this.#parts.link.connect(identity, hello, signal);
    const { address, welcome } = channel;
    const { sessionCounter, isSimulated: simulated } = hello;
    this.#log.info({ address, host: identity.host, sessionCounter, simulated }, 'session open');
    await this.#writeOpen(address, welcome.controllerVersion);
    const session = new Session(channel, this.#parts);
    const end = new AbortController();
    const renewing = this.#keepRenewed(identity, channel, end.signal);
    this.#session = session;
    this.#channel = channel;
    try {
      await session.run(signal);
    } finally {
      this.#session = undefined;
      this.#channel = undefined;
      end.abort();
      await renewing;
    }
  }

  async #keepRenewed(identity: Identity, channel: SessionChannel, signal: AbortSignal): Promise<void> {
    try {
      await this.#parts.renewal.keepRenewed(identity, channel, signal);
    } catch (error) {
      // Nothing is lost yet: the certificate is good for the rest of its life, and the next session tries again.
      this.#log.error({ err: error }, 'certificate not renewed');
    }
  }

  async #makeHello(identity: Identity): Promise<Hello> {
    const { hostReport, record, toolstack, clock, cfgFolder } = this.#parts;
    const facts = { ...(await hostReport.readFacts()), cfgFolder: cfgFolder.path };
    const sessionCounter = await record.nextSessionCounter();
    const { deploymentId } = identity;
    return { facts, sessionCounter, deploymentId, isSimulated: toolstack.isSimulated, nowMs: clock.nowMs() };
  }

  #writeOpen(address: string, controllerVersion: string): Promise<void> {
    const sinceMs = this.#parts.clock.nowMs();
    return this.#writeStatus({ kind: 'open', address, sinceMs, controllerVersion });
  }

  #writeClosed(reason: string): Promise<void> {
    return this.#writeStatus({ kind: 'closed', sinceMs: this.#parts.clock.nowMs(), reason });
  }

  async #writeStatus(session: AgentStatus['session']): Promise<void> {
    const { about, record, toolstack } = this.#parts;
    try {
      await record.writeStatus({ ...about, isSimulated: toolstack.isSimulated, session });
    } catch (error) {
      this.#log.warn({ reason: messageOf(error) }, 'status not written');
    }
  }
}
