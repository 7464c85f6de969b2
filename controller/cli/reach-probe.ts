import { connect } from 'node:net';
import { wrongState } from '../../shared/errors.js';
import { outputOf, type Exec } from '../../shared/exec.js';

/** Looks once whether an address answers. */
export interface Probe {
  /** For people, after "10.0.0.1": "answers ping". */
  readonly answers: string;
  /**
   * Takes at most a few seconds.
   *
   * @returns why it does not answer, for people; `undefined` if it does
   * @throws {AppError} `wrong_state` if nothing can be looked at from here
   */
  look(address: string, signal: AbortSignal): Promise<string | undefined>;
}

/** ping itself waits for one second; a name service that hangs must not hold it. */
const PING_MS = 5_000;
/** A guest that swaps takes its time from SYN to banner. */
const BANNER_MS = 3_000;
/** RFC 4253, 4.2: a server may say other lines before. */
const MAX_BANNER_BYTES = 8_192;

export function pingProbe(exec: Exec): Probe {
  return {
    answers: 'answers ping',
    async look(address, signal) {
      const result = await exec.run(['ping', '-n', '-c1', '-W1', address], { timeoutMs: PING_MS, signal });
      if (result.kind === 'ok') return undefined;
      if (result.kind === 'missing') {
        throw wrongState('the program ping cannot be run here', {
          output: result.stderr,
          hint: 'install it (Debian: iputils-ping), or wait with --for=ssh',
        });
      }
      // Exit code 1 is silence, anything else is said.
      if (result.kind === 'failed' && result.exitCode !== 1) return `ping says: ${firstLine(outputOf(result))}`;
      return 'no answer to ping';
    },
  };
}

/** @param port 22 unless told */
export function sshProbe(port = 22): Probe {
  return { answers: 'answers ssh', look: (address, signal) => readBanner(address, port, signal) };
}

function readBanner(address: string, port: number, signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    let isConnected = false;
    let said = '';
    const end = (reason: string | undefined): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', abort);
      socket.destroy();
      resolve(reason);
    };
    const abort = (): void => end('the wait ended');
    const late = (): void => end(isConnected ? `port ${String(port)} is silent` : `no answer on port ${String(port)}`);
    const timer = setTimeout(late, BANNER_MS);
    signal.addEventListener('abort', abort, { once: true });
    if (signal.aborted) abort();
    socket.once('connect', () => (isConnected = true));
    socket.on('error', (error: NodeJS.ErrnoException) => end(describeFault(error, port)));
    socket.once('end', () => end(`port ${String(port)} closes without an SSH banner`));
    socket.on('data', (piece) => {
      said += piece.toString('latin1');
      if (/^SSH-(2\.0|1\.99)-/m.test(said)) end(undefined);
      else if (said.length > MAX_BANNER_BYTES) end(`port ${String(port)} speaks something else than SSH`);
    });
  });
}

function describeFault({ code, message }: NodeJS.ErrnoException, port: number): string {
  switch (code) {
    case 'ECONNREFUSED':
      return `port ${String(port)} is closed`;
    case 'EHOSTUNREACH':
      return 'no such host on the wire';
    case 'ENETUNREACH':
      return 'no route to its network';
    default:
      return message;
  }
}

function firstLine(text: string): string {
  return text.split('\n')[0] || 'nothing';
}
