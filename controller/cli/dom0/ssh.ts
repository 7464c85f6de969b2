import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppError } from '../../../shared/errors.js';
import { outputOf, type Exec, type ExecOptions } from '../../../shared/exec.js';
import { parseAnswer, type Answer } from './answer.js';
import { REFUSED, scriptText, type ScriptValues } from './script.js';
import { sshFailure } from './ssh-failure.js';

/** A machine and how it is reached. */
export interface SshTarget {
  readonly host: string;
  readonly user: string;
  /** Path of a file instead of ~/.ssh/config. */
  readonly sshConfig: string | null;
  readonly knownHosts: string;
}

export interface ScriptCall {
  readonly body: string;
  readonly values?: ScriptValues;
  /** What the script reads. */
  readonly input?: AsyncIterable<Uint8Array> | undefined;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

const CONNECT_S = 10;
const CLOSE_MS = 5_000;
/** sockaddr_un less what ssh appends while it makes the socket. */
const MAX_CONTROL_PATH = 80;
const CONTROL_NAME_LENGTH = 42;

/** The system's ssh: agent, ~/.ssh/config and keys are the user's own. It never asks anything. */
export class Ssh {
  private readonly exec: Exec;
  /** `undefined`: each command has a connection of its own. */
  private readonly controlFolder: string | undefined;
  private readonly opened = new Map<string, SshTarget>();

  private constructor(exec: Exec, controlFolder: string | undefined) {
    this.exec = exec;
    this.controlFolder = controlFolder;
  }

  /** Runs `work` with an ssh whose connections are shared, and closes them. */
  static async with<T>(exec: Exec, work: (ssh: Ssh) => Promise<T>): Promise<T> {
    const folder = await mkdtemp(join(tmpdir(), 'domherd-ssh-'));
    const isShort = folder.length + CONTROL_NAME_LENGTH < MAX_CONTROL_PATH;
    const ssh = new Ssh(exec, isShort ? folder : undefined);
    try {
      return await work(ssh);
    } finally {
      await ssh.close();
      await rm(folder, { recursive: true, force: true });
    }
  }

  /**
   * Runs a script as root, by sudo where the user is another.
   *
   * @throws {AppError} why ssh did not get there, or what the script refused
   */
  async run(target: SshTarget, call: ScriptCall): Promise<Answer> {
    const { host, user } = target;
    if (this.controlFolder !== undefined) this.opened.set(host, target);
    const options: ExecOptions = {
      timeoutMs: call.timeoutMs,
      signal: call.signal,
      input: withScript(scriptText(call.body, call.values), call.input),
    };
    const shell = ['bash', '--norc', '--noprofile', '-s'];
    const command = user === 'root' ? shell : ['sudo', '-n', '--', ...shell];
    const result = await this.exec.run(['ssh', ...this.options(target), '--', host, ...command], options);
    const failure = sshFailure(result, host, user);
    if (failure) throw failure;
    const answer = parseAnswer(result.stdout.toString());
    if (result.kind === 'ok') return answer;
    if (result.kind === 'failed' && result.exitCode === REFUSED) throw refusal(host, answer);
    throw new AppError('internal', `a step on ${host} failed without a word`, { said: outputOf(result) });
  }

  private options(target: SshTarget): readonly string[] {
    const control =
      this.controlFolder === undefined
        ? ['-o', 'ControlMaster=no', '-o', 'ControlPath=none']
        : ['-o', 'ControlMaster=auto', '-o', 'ControlPersist=30', '-o', `ControlPath=${this.controlFolder}/%C`];
    return [...sshOptions(target), ...control, '-o', 'ClearAllForwardings=yes'];
  }

  private async close(): Promise<void> {
    await Promise.all(
      [...this.opened.values()].map((target) =>
        this.exec.run(['ssh', ...this.options(target), '-O', 'exit', '--', target.host], { timeoutMs: CLOSE_MS }),
      ),
    );
  }
}

/** What every call of ssh has, whatever the user's configuration says. */
export function sshOptions({ user, sshConfig, knownHosts }: SshTarget): readonly string[] {
  const set = {
    BatchMode: 'yes',
    ConnectTimeout: String(CONNECT_S),
    ServerAliveInterval: '10',
    ServerAliveCountMax: '3',
    StrictHostKeyChecking: 'accept-new',
    UserKnownHostsFile: `"${knownHosts.replaceAll('%', '%%')}"`,
    HashKnownHosts: 'no',
    CheckHostIP: 'no',
    UpdateHostKeys: 'no',
    ForwardAgent: 'no',
    ForwardX11: 'no',
    PermitLocalCommand: 'no',
    RemoteCommand: 'none',
    LogLevel: 'ERROR',
  };
  const config = sshConfig === null ? [] : ['-F', sshConfig];
  return [...config, '-T', '-l', user, ...Object.entries(set).flatMap(([key, value]) => ['-o', `${key}=${value}`])];
}

async function* withScript(
  script: string,
  input: AsyncIterable<Uint8Array> | undefined,
): AsyncGenerator<Uint8Array, void> {
  yield Buffer.from(script);
  if (input) yield* input;
}

/** "domherd-agent: the token has expired\n  make another" is the agent's own way to say such things. */
function refusal(host: string, answer: Answer): AppError {
  const [said = '', ...more] = answer
    .one('error')
    .split('\n')
    .map((line) => line.trim());
  const agentHint = more.find((line) => line !== '' && !/^\w+: /.test(line));
  const message = said.replace(/^domherd-agent: /, '');
  return new AppError('wrong_state', `${host}: ${message}`, { hint: agentHint ?? answer.one('hint') });
}
