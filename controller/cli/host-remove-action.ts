import { resolve } from 'node:path';
import { parseHostName, type HostName } from '../../shared/domain/name.js';
import { AppError, invalid, toAppError } from '../../shared/errors.js';
import type { RemoveHostResponse } from '../../shared/gen/domherd/v1/host.js';
import { confirm } from './confirm.js';
import { ControllerSide } from './dom0/controller-side.js';
import { dom0FolderOf, sshTarget, type Dom0Folder, type Dom0Record } from './dom0/dom0-folder.js';
import { exitCodeOfAll } from './dom0/exit-code.js';
import { fanOut } from './fan-out.js';
import { HostLines } from './dom0/host-lines.js';
import { uniqueNodes } from './dom0/node-list.js';
import { RELEASE, REMOVE } from './dom0/script.js';
import { Ssh } from './dom0/ssh.js';
import { hintOf } from './failure.js';
import type { ReachOptions } from './host-add-action.js';
import { expandHosts } from './host-selection.js';
import type { Invocation } from './invocation.js';
import { printRows, tell, type View } from './output.js';

export interface RemoveOptions extends ReachOptions {
  readonly yes?: boolean;
  readonly force?: boolean;
  /** Leave the dom0 alone: it is out of reach. */
  readonly forget?: boolean;
  readonly dryRun?: boolean;
}

interface Removed {
  readonly host: string;
  readonly error: AppError | undefined;
  /** `undefined`: the controller did not know it. */
  readonly answer: RemoveHostResponse | undefined;
  /** What is still on the dom0, and why. */
  readonly note: string;
}

const PARALLEL = 10;
/** The agent has 15 s to stop; an emulated dom0 takes its time. */
const REMOVE_MS = 120_000;

export async function removeHosts(call: Invocation, names: readonly string[], options: RemoveOptions): Promise<number> {
  const hosts = uniqueNodes((await expandHosts(call, names)).map(parseHostName));
  if (hosts.length === 0) throw invalid('no host was given', { hint: 'domherd host remove HOST...' });
  if (!options.dryRun) await confirm(call, question(hosts, options), options.yes);
  const folder = dom0FolderOf(call.world);
  await folder.make();
  const lines = new HostLines(call);
  const results = await ControllerSide.with(call, (controller) =>
    Ssh.with(call.world.exec, (ssh) =>
      fanOut(hosts, options.parallel ?? PARALLEL, async (host) => {
        const removed = await new Removal({ call, controller, ssh, folder, lines, options }, host).run();
        lines.done(
          host,
          removed.error ? `${removed.error.code}: ${removed.error.message}` : resultText(removed, options),
        );
        return removed;
      }),
    ),
  );
  printRows(call, results, viewOf(options));
  for (const hint of new Set(results.flatMap(({ error }) => (error ? [hintOf(error.code, error.details)] : []))))
    tell(call, `hint: ${hint}`);
  if (call.world.signal.aborted) throw new AppError('unavailable', 'interrupted');
  return exitCodeOfAll(results.map(({ error }) => error));
}

function question(hosts: readonly HostName[], { forget }: RemoveOptions): string {
  const list = hosts.join(' ');
  return forget ? `forget ${list}, and leave the agent there` : `take domherd off ${list} and release their addresses`;
}

interface RemovalParts {
  readonly call: Invocation;
  readonly controller: ControllerSide;
  readonly ssh: Ssh;
  readonly folder: Dom0Folder;
  readonly lines: HostLines;
  readonly options: RemoveOptions;
}

/** One host. What can refuse comes first; what takes away comes last, and is safe to repeat. */
class Removal {
  private readonly parts: RemovalParts;
  private readonly host: HostName;

  constructor(parts: RemovalParts, host: HostName) {
    this.parts = parts;
    this.host = host;
  }

  async run(): Promise<Removed> {
    const { host } = this;
    try {
      return { host, error: undefined, ...(await this.remove()) };
    } catch (error) {
      return { host, error: toAppError(error), answer: undefined, note: '' };
    }
  }

  private async remove(): Promise<Pick<Removed, 'answer' | 'note'>> {
    const { controller, folder, options } = this.parts;
    const force = options.force === true || options.forget === true;
    const preview = await controller.remove(this.host, { force, isDryRun: true });
    if (options.forget && preview === undefined) await this.refuseUnknown();
    if (options.dryRun) return { answer: preview, note: '' };
    if (!options.forget) await this.onDom0('put back what was held', RELEASE);
    const answer = await controller.remove(this.host, { force, isDryRun: false });
    const left = options.forget ? '' : await this.onDom0('take the agent away', REMOVE);
    await folder.forget(this.host);
    return { answer, note: left === '' ? '' : `${left} is left on the dom0: it is not empty` };
  }

  private async refuseUnknown(): Promise<void> {
    if (await this.parts.folder.load(this.host)) return;
    throw new AppError('not_found', `host "${this.host}" is unknown`, { hint: 'see domherd host list' });
  }

  /** @returns what the script left behind */
  private async onDom0(text: string, body: string): Promise<string> {
    const { call, ssh, folder, lines } = this.parts;
    lines.step(this.host, text);
    const target = sshTarget(folder, this.host, await this.record());
    try {
      const answer = await ssh.run(target, { body, timeoutMs: REMOVE_MS, signal: call.world.signal });
      return answer.one('left');
    } catch (error) {
      throw withForgetHint(toAppError(error), this.host);
    }
  }

  private async record(): Promise<Dom0Record> {
    const { folder, options } = this.parts;
    const before = await folder.load(this.host);
    if (options.acceptNewHostKey) await folder.forgetKeys(this.host);
    return {
      user: options.user ?? before?.user ?? 'root',
      sshConfig: options.sshConfig === undefined ? (before?.sshConfig ?? null) : resolve(options.sshConfig),
      jobId: before?.jobId ?? null,
      tunnel: before?.tunnel ?? null,
    };
  }
}

const OUT_OF_REACH = new Set(['unavailable', 'timeout', 'not_found', 'unauthenticated']);

function withForgetHint(error: AppError, host: string): AppError {
  if (!OUT_OF_REACH.has(error.code)) return error;
  const hint = `${error.details['hint'] ?? ''}; if it is gone for good: domherd host remove ${host} --forget`;
  return new AppError(error.code, error.message, { ...error.details, hint }, error);
}

function resultText({ answer }: Removed, { forget, dryRun }: RemoveOptions): string {
  if (dryRun) return answer === undefined ? 'not known here' : 'nothing stands against it';
  if (forget) return 'forgotten';
  return answer === undefined ? 'cleaned' : 'removed';
}

function viewOf(options: RemoveOptions): View<Removed> {
  const note = ({ error, answer, note: left }: Removed): string =>
    [
      error?.message ?? '',
      answer && answer.runningVms.length > 0 ? `may be running: ${answer.runningVms.join(', ')}` : '',
      left,
    ]
      .filter((text) => text !== '')
      .join('; ');
  return {
    columns: [
      { title: 'HOST', text: ({ host }) => host },
      {
        title: 'RESULT',
        text: (removed) => removed.error?.code ?? resultText(removed, options),
        colour: ({ error }) => (error ? 'red' : 'green'),
      },
      { title: 'RELEASED', text: ({ answer }) => answer?.releasedAddresses.join(' ') || '-' },
      { title: 'NOTE', text: note },
    ],
    json: (removed) => ({
      host: removed.host,
      result: removed.error ? null : resultText(removed, options),
      errorCode: removed.error?.code ?? null,
      message: note(removed),
      details: removed.error?.details ?? {},
      vms: removed.answer?.vms ?? [],
      releasedAddresses: removed.answer?.releasedAddresses ?? [],
      runningVms: removed.answer?.runningVms ?? [],
    }),
    name: ({ host }) => host,
  };
}
