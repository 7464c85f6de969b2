import { AppError } from '../../../shared/errors.js';
import { type Exec, outputOf } from '../../../shared/exec.js';
import { formatIpv4, type Ipv4 } from '../../../shared/domain/ipv4.js';
import { answeringMac, isIputilsArping } from '../../domain/arping-text.js';
import type { WireAnswer, WireProbe } from '../../ports/wire-probe.js';

/** Two probes, a second each; then what arping needs to start and end. */
const PROBE_MS = 4000;
const VERSION_MS = 2000;

/** Probes by the arping of iputils: duplicate address detection, RFC 5227. */
export class ArpingProbe implements WireProbe {
  readonly #exec: Exec;
  readonly #defaultBridge: () => Promise<string>;
  #isRightProgram = false;

  /** @param defaultBridge the bridge that a vif without one gets; may throw {AppError} `unavailable` */
  constructor(exec: Exec, defaultBridge: () => Promise<string>) {
    this.#exec = exec;
    this.#defaultBridge = defaultBridge;
  }

  async probe(address: Ipv4, bridge: string | undefined, signal: AbortSignal): Promise<WireAnswer> {
    await this.#checkProgram();
    const where = bridge ?? (await this.#defaultBridge());
    const argv = ['arping', '-D', '-c', '2', '-w', '2', '-I', where, formatIpv4(address)] as const;
    const result = await this.#exec.run([...argv], { timeoutMs: PROBE_MS, signal });
    if (result.kind === 'aborted' && signal.reason instanceof AppError) throw signal.reason;
    if (result.kind === 'ok') return { kind: 'silent' };
    const mac = answeringMac(result.stdout.toString());
    if (result.kind === 'failed' && result.exitCode === 1 && mac !== undefined) return { kind: 'answered', mac };
    throw new AppError('unavailable', `${formatIpv4(address)} could not be asked for on ${where}`, {
      bridge: where,
      output: outputOf(result),
      hint: `ip link show ${where}: is it there, and up?`,
    });
  }

  async #checkProgram(): Promise<void> {
    if (this.#isRightProgram) return;
    const result = await this.#exec.run(['arping', '-V'], { timeoutMs: VERSION_MS });
    this.#isRightProgram = isIputilsArping(`${result.stdout.toString()}${result.stderr}`);
    if (this.#isRightProgram) return;
    const what = result.kind === 'missing' ? 'arping is missing' : 'This arping cannot detect duplicate addresses';
    throw new AppError('unavailable', `${what}: the wire cannot be asked`, { hint: 'apt-get install iputils-arping' });
  }
}
