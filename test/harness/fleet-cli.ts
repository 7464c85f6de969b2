import { runCli, type CliOptions, type CliRun } from '../fakes/cli-run.js';
import { Fleet } from './fleet.js';

export type Row = Record<string, unknown>;

/** A restarted controller is dialled again within seconds; a loaded machine gets more. */
const SOON_MS = 30_000;
/** Counters and times of observation move by themselves. */
export const MOVING = new Set(['metrics', 'observedAt', 'lastSeenAt', 'facts', 'clockOffsetMs']);

/** @throws after half a minute */
export async function until(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const endMs = Date.now() + SOON_MS;
  while (!(await isSo())) {
    if (Date.now() > endMs) throw new Error(`not in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A fleet, and the command line in this process that talks to it. */
export class FleetCli {
  readonly fleet = new Fleet();

  /** @param args separated by single blanks */
  run(args: string, options: CliOptions = {}): Promise<CliRun> {
    return this.runWords(args.split(' '), options);
  }

  runWords(args: readonly string[], options: CliOptions = {}): Promise<CliRun> {
    const { env = {}, ...rest } = options;
    return runCli(args, { ...rest, env: { DOMHERD_SOCKET: this.fleet.socket, ...env } });
  }

  /** @returns stdout @throws unless it exits with 0 */
  async ok(args: string, options: CliOptions = {}): Promise<string> {
    const { exitCode, out, err } = await this.run(args, options);
    if (exitCode === 0) return out;
    throw new Error(`domherd ${args}: exit code ${String(exitCode)}\n${err}`);
  }

  async rows(args: string): Promise<Row[]> {
    return JSON.parse(await this.ok(`${args} -o json`)) as Row[];
  }

  /** All that a command could change, and the newest event that tells of a change: the same text as before means none happened. */
  async everything(): Promise<string> {
    const lists = ['reservation list', 'lease list', 'mac list', 'host list', 'vm list'];
    const found = await Promise.all(lists.map((list) => this.rows(list)));
    const last = (await this.rows('event list --limit 100')).findLast(({ kind }) => kind !== 'vm.failed');
    return JSON.stringify([...found, last], (key, value: unknown) => (MOVING.has(key) ? undefined : value));
  }

  /** The controller, and these simulated dom0s. @param options of their toolstack, KEY=VALUE */
  async start(hosts: readonly string[], vmsEach: number, options: readonly string[] = []): Promise<void> {
    await this.fleet.startController();
    await Promise.all(hosts.map((host) => this.fleet.startAgent(host, vmsEach, options)));
    await this.areOnline(hosts);
  }

  async areOnline(hosts: readonly string[]): Promise<void> {
    const isOnline = async (): Promise<boolean> => {
      const { out } = await this.run('host list -o json');
      const all = out === '' ? [] : (JSON.parse(out) as Row[]);
      return hosts.every((host) => all.some(({ name, state }) => name === host && state === 'online'));
    };
    await until(isOnline, `${hosts.join(' and ')} online`);
  }
}
