import { AppError, toAppError } from '../../../shared/errors.js';
import { HostState, type Host } from '../../../shared/gen/domherd/v1/host.js';
import type { Answer } from './answer.js';
import { openArtefact, type Artefact } from './artefact.js';
import type { ControllerSide } from './controller-side.js';
import { sshTarget, type Dom0Folder, type Dom0Record } from './dom0-folder.js';
import type { Endpoints } from './endpoint.js';
import { planDom0, stepText, type Dom0Step, type KnownHost, type Wanted } from './plan.js';
import { parseProbe, type Dom0Facts } from './probe.js';
import * as script from './script.js';
import type { ScriptCall, Ssh } from './ssh.js';

export interface SetupOptions {
  readonly ssh: Ssh;
  readonly folder: Dom0Folder;
  readonly controller: ControllerSide;
  readonly endpoints: Endpoints;
  readonly artefact: Artefact;
  readonly verb: Wanted['verb'];
  readonly isDryRun: boolean;
  readonly signal: AbortSignal;
  /** What is being done; `note` is a percentage or the like. */
  readonly tell: (host: string, text: string, note?: string) => void;
  /** Keeps the host's tunnel up from now on; resolves when it is. */
  readonly openTunnel: (host: string) => Promise<void>;
}

/** A host to set up. */
export interface SetupTarget {
  readonly host: string;
  readonly record: Dom0Record;
  readonly acceptsNewKey: boolean;
}

/** What came of one host. */
export interface SetupResult {
  readonly host: string;
  /** What was done, or under `--dry-run` would be. */
  readonly steps: readonly Dom0Step[];
  readonly error: AppError | undefined;
}

/** A probe is quick; a dom0 that swaps, or an emulated one, is not. */
const PROBE_MS = 60_000;
/** 33 MiB over a slow line, or to a disk that is busy. */
const COPY_MS = 600_000;
const STEP_MS = 120_000;
/** Node starts, connects and tells its state; on an emulated dom0 that takes half a minute. */
const ONLINE_MS = 90_000;
/** One that runs already need only be seen. */
const SEEN_MS = 15_000;

/** Sets up dom0s. Repeating it repairs or upgrades. Does not reject. */
export async function setUpDom0(target: SetupTarget, options: SetupOptions): Promise<SetupResult> {
  const setup = new Dom0Setup(target, options);
  try {
    return { host: target.host, steps: await setup.run(), error: undefined };
  } catch (error) {
    return { host: target.host, steps: setup.done, error: toAppError(error) };
  }
}

/** One host: gathers what is there, has the plan decided, carries it out. */
class Dom0Setup {
  readonly done: Dom0Step[] = [];
  private readonly options: SetupOptions;
  private readonly target: SetupTarget;
  private readonly host: string;
  /** When the session began that the host had before its agent was started; later ones count. */
  private sessionBeforeMs: number | undefined;

  constructor(target: SetupTarget, options: SetupOptions) {
    this.target = target;
    this.host = target.host;
    this.options = options;
  }

  async run(): Promise<readonly Dom0Step[]> {
    const { folder, isDryRun, tell } = this.options;
    if (this.target.acceptsNewKey) await folder.forgetKeys(this.host);
    tell(this.host, 'look at what is there');
    const wanted = await this.gather();
    const steps = planDom0(wanted.facts, wanted);
    if (isDryRun) return steps;
    await folder.save(this.host, this.target.record);
    for (const step of steps) await this.carryOut(step, wanted, steps);
    return this.done;
  }

  private async gather(): Promise<Wanted & { readonly facts: Dom0Facts }> {
    const { controller, artefact, verb } = this.options;
    const { tunnel } = this.target.record;
    const facts = await this.probe();
    const known = await controller.find(this.host);
    return {
      host: this.host,
      facts,
      artefact,
      verb,
      known: known && knownHost(known),
      tunnel: tunnel ? { session: tunnel.sessionPort, join: tunnel.joinPort } : undefined,
      nowS: controller.nowS(),
    };
  }

  private async probe(): Promise<Dom0Facts> {
    const { endpoints } = this.options;
    const words = (kind: keyof Endpoints): string[] =>
      endpoints[kind].map(({ host, port }) => `${kind} ${host} ${String(port)}`);
    const dials = this.target.record.tunnel ? [] : [...words('session'), ...words('join')];
    return parseProbe(await this.script({ body: script.PROBE, values: { dials }, timeoutMs: PROBE_MS }));
  }

  private async carryOut(step: Dom0Step, wanted: Wanted, steps: readonly Dom0Step[]): Promise<void> {
    this.options.tell(this.host, stepText(step, wanted));
    await this.act(step, wanted, steps);
    this.done.push(step);
  }

  private async act(step: Dom0Step, wanted: Wanted, steps: readonly Dom0Step[]): Promise<void> {
    const { version } = wanted.artefact;
    switch (step.kind) {
      case 'copy': {
        const values = { version, node_from: step.nodeFrom };
        const input = this.counted(step.withNode, stepText(step, wanted));
        await this.script({ body: script.UNPACK, values, input, timeoutMs: COPY_MS });
        return;
      }
      case 'activate':
        await this.script({ body: script.ACTIVATE, values: { version } });
        return;
      case 'console-log':
        await this.script({ body: script.CONSOLE_LOG });
        return;
      case 'tunnel':
        return this.options.openTunnel(this.host);
      case 'join':
        return this.join(wanted);
      case 'start':
        this.sessionBeforeMs = (await this.options.controller.find(this.host))?.connectedAt?.getTime();
        await this.script({ body: script.START });
        return;
      case 'wait':
        return this.wait(wanted, steps);
    }
  }

  private async join({ tunnel }: Wanted): Promise<void> {
    const token = await this.options.controller.token(this.host, tunnel);
    await this.script({ body: script.JOIN, values: { host: this.host }, input: once(`${token}\n`) });
  }

  /** An identity that looked well may be no good after all: another controller's, or of another deployment. */
  private async wait(wanted: Wanted, steps: readonly Dom0Step[]): Promise<void> {
    const did = (kind: Dom0Step['kind']): boolean => [...steps, ...this.done].some((step) => step.kind === kind);
    const isSeen = await this.isSeen(did('start') ? ONLINE_MS : SEEN_MS);
    if (isSeen) return;
    if (wanted.verb === 'upgrade' || did('join')) throw await this.unseen();
    for (const kind of ['join', 'start'] as const) await this.carryOut({ kind }, wanted, steps);
    if (!(await this.isSeen(ONLINE_MS))) throw await this.unseen();
  }

  private async isSeen(limitMs: number): Promise<boolean> {
    const { controller, signal } = this.options;
    const isNew = (host: Host): boolean => host.connectedAt?.getTime() !== this.sessionBeforeMs;
    const host = await controller.waitOnline(this.host, isNew, limitMs);
    if (signal.aborted) throw new AppError('unavailable', 'interrupted', { hint: 'run the command again' });
    return host !== undefined;
  }

  private async unseen(): Promise<AppError> {
    const refused = (await this.options.controller.find(this.host))?.lastError ?? '';
    const said = await this.script({ body: script.EXPLAIN });
    const state = said.one('active') === 'active' ? 'runs' : `does not run (${said.one('active')})`;
    return new AppError('timeout', `the agent of ${this.host} ${state}, but the controller does not see it`, {
      ...(refused !== '' && { refused }),
      log: said.one('log').slice(-500),
      hint: `on the dom0: journalctl -u domherd-agent -n 50; here: domherd event list --host ${this.host}`,
    });
  }

  /** The archive, telling how much of it is there. */
  private async *counted(withNode: boolean, text: string): AsyncGenerator<Uint8Array, void> {
    const { artefact, tell } = this.options;
    const total = withNode ? artefact.bytes : artefact.agentBytes;
    let sent = 0;
    for await (const piece of openArtefact(artefact, withNode)) {
      sent += piece.length;
      tell(this.host, text, `${String(Math.floor((100 * sent) / total))} %`);
      yield piece;
    }
  }

  private script(call: Partial<ScriptCall> & Pick<ScriptCall, 'body'>): Promise<Answer> {
    const { ssh, folder, signal } = this.options;
    return ssh.run(sshTarget(folder, this.host, this.target.record), { timeoutMs: STEP_MS, signal, ...call });
  }
}

function knownHost(host: Host): KnownHost {
  return {
    deploymentId: host.deploymentId,
    isRevoked: host.state === HostState.REVOKED,
    sessionAddresses: host.sessionAddresses,
  };
}

async function* once(text: string): AsyncGenerator<Uint8Array, void> {
  yield await Promise.resolve(Buffer.from(text));
}
