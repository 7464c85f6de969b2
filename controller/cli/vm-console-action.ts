import { Metadata } from '@grpc/grpc-js';
import { AppError, invalid, wrongState } from '../../shared/errors.js';
import type {
  ConsoleAttached,
  ConsoleRequest,
  ConsoleResponse,
  ConsoleWriter,
} from '../../shared/gen/domherd/v1/console.js';
import { VmServiceClient } from '../../shared/gen/domherd/v1/vm.js';
import { callStream } from '../../shared/grpc/client.js';
import { Duplex } from '../../shared/grpc/duplex.js';
import { withClient } from './connection.js';
import { Keyboard } from './keyboard.js';
import { LogText } from './log-text.js';
import type { Invocation } from './invocation.js';
import { tell } from './output.js';
import { wantsColour } from './terminal-text.js';

export interface ConsoleOptions {
  readonly watch?: boolean;
  readonly log?: boolean;
  readonly lines?: number;
  readonly follow?: boolean;
}

/** After the end of an input that is no terminal: so long the guest may say nothing before it is taken for done. */
const QUIET_MS = 3_000;
/** What a guest may have left a terminal in: colours, no cursor, a paste that is marked. */
const PLAIN_TERMINAL = '\u001b[0m\u001b[?25h\u001b[?2004l';

export async function openConsole(
  call: Invocation,
  [name = '']: readonly string[],
  options: ConsoleOptions,
): Promise<number> {
  if (options.log) {
    if (options.watch)
      throw invalid('--log and --watch exclude each other', { hint: '--log --follow shows what is added' });
    return showLog(call, name, options);
  }
  const given = options.lines !== undefined ? '--lines' : options.follow ? '--follow' : undefined;
  if (given) throw invalid(`${given} is for --log`, { hint: `domherd vm console ${name} --log ${given}` });
  return withClient(call, VmServiceClient, (client) =>
    new ConsoleSession(call, new Duplex(client.console(new Metadata())), options.watch ?? false).run(name),
  );
}

/** To a terminal goes only what cannot harm it; to a file or a pipe every byte. */
async function showLog(call: Invocation, name: string, { lines = 0, follow = false }: ConsoleOptions): Promise<number> {
  const { stdout, env, signal } = call.world;
  const text = stdout.isTTY ? new LogText(wantsColour(stdout, env)) : undefined;
  await withClient(call, VmServiceClient, async (client) => {
    const request = { name, lines, follow };
    for await (const piece of callStream(client.readConsoleLog.bind(client), request, { signal })) {
      stdout.write(text ? text.push(piece.text) : piece.text);
    }
  });
  if (text) stdout.write(text.end());
  return 0;
}

/** Attached to a console, until the person leaves or the domU ends. */
class ConsoleSession {
  private readonly call: Invocation;
  private readonly duplex: Duplex<ConsoleRequest, ConsoleResponse>;
  private readonly isWatching: boolean;
  private keyboard: Keyboard | undefined;
  private writer: ConsoleWriter = { actor: '', isYou: false };
  private hasLeft = false;
  private isTold = false;
  private lastOutputMs = 0;

  constructor(call: Invocation, duplex: Duplex<ConsoleRequest, ConsoleResponse>, isWatching: boolean) {
    this.call = call;
    this.duplex = duplex;
    this.isWatching = isWatching;
  }

  async run(name: string): Promise<number> {
    const { signal } = this.call.world;
    const cancel = (): void => this.duplex.cancel();
    signal.addEventListener('abort', cancel, { once: true });
    try {
      void this.duplex
        .send({ message: { $case: 'attach', value: { name, watch: this.isWatching } } })
        .catch(() => undefined);
      for await (const { message } of this.duplex.read()) {
        if (message?.$case === 'attached') this.attached(message.value);
        if (message?.$case === 'output') this.show(message.value);
        if (message?.$case === 'writer') this.writerChanged(message.value);
        if (message?.$case === 'ended') return this.ended(message.value.reason);
      }
      throw new AppError('unavailable', `the console of ${name} was cut`);
    } catch (error) {
      if (!this.hasLeft) throw error;
      this.restore();
      tell(this.call, 'left the console; the VM runs on');
      return 0;
    } finally {
      this.restore();
      signal.removeEventListener('abort', cancel);
    }
  }

  private attached({ vm, simulated, writer, note }: ConsoleAttached): void {
    const { stdin, stdout } = this.call.world;
    this.writer = writer ?? this.writer;
    const isTerminal = stdin.isTTY === true;
    if (!isTerminal && !this.isWatching && !this.writer.isYou) {
      throw wrongState(`${this.writer.actor} writes on the console of ${vm}`, { hint: 'wait, or look on: --watch' });
    }
    const keys = isTerminal ? 'Ctrl-] leaves it' : 'it is left when the input has ended and the guest is silent';
    tell(
      this.call,
      `console of ${vm}${simulated ? ' (simulated)' : ''}; ${this.isWatching && !isTerminal ? 'Ctrl-C leaves it' : keys}`,
    );
    if (note !== '') tell(this.call, `warning: ${note}`);
    if (!this.writer.isYou) this.tellWriter();
    const { rows, columns } = stdout;
    if (this.writer.isYou && isTerminal && rows && columns) {
      tell(this.call, `a console knows no window size; type there: stty rows ${String(rows)} cols ${String(columns)}`);
    }
    if (isTerminal || !this.isWatching) this.listen(isTerminal);
  }

  private listen(isTerminal: boolean): void {
    const { stdin, pause, signal } = this.call.world;
    this.keyboard = new Keyboard(stdin, {
      pause,
      signal,
      isTerminal,
      // Of one who looks on nothing is sent that Ctrl-C could be meant for.
      leavesBy: this.isWatching ? [ESCAPE, INTERRUPT] : [ESCAPE],
      type: (keys) => this.type(keys),
      leave: () => this.leave(),
      inputEnded: () => void this.leaveWhenQuiet(),
    });
  }

  private async type(keys: Uint8Array): Promise<void> {
    if (!this.writer.isYou) {
      if (!this.isTold) this.tellWriter();
      this.isTold = true;
      return;
    }
    await this.duplex.send({ message: { $case: 'typed', value: Buffer.from(keys) } });
  }

  private show(output: Uint8Array): void {
    this.lastOutputMs = this.call.world.nowMs();
    this.call.world.stdout.write(output);
  }

  private writerChanged(writer: ConsoleWriter): void {
    this.writer = writer;
    this.isTold = false;
    this.tellWriter();
  }

  private tellWriter(): void {
    const { actor, isYou } = this.writer;
    const others = actor === '' ? 'nobody writes' : `${actor} writes`;
    tell(this.call, isYou ? 'you write now' : `${others}, you look on`);
  }

  private ended(reason: string): number {
    this.restore();
    tell(this.call, `the console has ended: ${reason}`);
    return 0;
  }

  private leave(): void {
    this.hasLeft = true;
    this.duplex.cancel();
  }

  private async leaveWhenQuiet(): Promise<void> {
    const { nowMs, pause, signal } = this.call.world;
    this.lastOutputMs = nowMs();
    for (let left = QUIET_MS; left > 0 && !signal.aborted; left = this.lastOutputMs + QUIET_MS - nowMs()) {
      await pause(left, signal);
    }
    this.leave();
  }

  /** The terminal as it was before. Idempotent. */
  private restore(): void {
    const { stdin, stdout } = this.call.world;
    if (!this.keyboard) return;
    this.keyboard.close();
    this.keyboard = undefined;
    if (stdin.isTTY && stdout.isTTY) stdout.write(`${PLAIN_TERMINAL}\n`);
  }
}

const ESCAPE = 0x1d;
const INTERRUPT = 0x03;
