import { waitFor, type Lab } from '../lab.js';
import type { Step } from './group.js';
import { waitForGuest } from './guest.js';

/** What `g5k-subnets -a` prints for a /22 of the site's /14. */
export const G5K_SUBNETS =
  '10.180.0.0/22\t10.183.255.255\t255.252.0.0\t10.183.255.254\t10.180.0.0\tdns.grenoble.grid5000.fr\t172.16.16.247\n';

/** A command of the CLI that must succeed. @returns its stdout */
export async function domherd(lab: Lab, line: string, input?: string): Promise<string> {
  const { exitCode, stdout, stderr } = await lab.frontend.domherd(line.split(' '), { input });
  if (exitCode !== 0) throw new Error(`domherd ${line}: exit code ${String(exitCode)}\n${stderr}${stdout}`);
  return stdout;
}

/** A reconnect's longest pause, and an emulated TLS handshake. */
const SESSION_MS = 180_000;

export interface VmJson {
  readonly name: string;
  readonly host: string;
  readonly state: string;
  readonly vifs: readonly {
    readonly mac: string;
    readonly lease: { readonly address: string; readonly mac: string } | null;
  }[];
}

export async function vms(lab: Lab): Promise<readonly VmJson[]> {
  return JSON.parse(await domherd(lab, 'vm list -o json')) as readonly VmJson[];
}

/** Address and MAC of each VM's only vif, by host. */
export type Addresses = ReadonlyMap<string, { readonly address: string; readonly mac: string }>;

export async function addresses(lab: Lab): Promise<Addresses> {
  const entries = (await vms(lab)).map(({ host, name, vifs }) => {
    const lease = vifs[0]?.lease;
    if (!lease) throw new Error(`${name}@${host} has no lease`);
    return [host, { address: lease.address, mac: lease.mac.toLowerCase() }] as const;
  });
  return new Map(entries);
}

/** Until every dom0's agent has its session. */
export async function waitForHosts(lab: Lab): Promise<void> {
  const ask = async (): Promise<boolean> => {
    const hosts = JSON.parse(await domherd(lab, 'host list -o json')) as readonly { readonly state: string }[];
    return hosts.length === lab.hosts.length && hosts.every(({ state }) => state === 'online');
  };
  await waitFor('both hosts online', ask, SESSION_MS);
}

/** Until the listing has this state for the only VM of a host. @returns milliseconds that it took */
export async function waitForState(lab: Lab, host: string, state: string, limitMs: number): Promise<number> {
  const started = Date.now();
  const ask = async (): Promise<boolean> => (await vms(lab)).some((vm) => vm.host === host && vm.state === state);
  await waitFor(`${state} of domU@${host}`, ask, limitMs, 100);
  return Date.now() - started;
}

/** How a group begins that comes after another one, whose controller was stopped. */
export function hostsAreBack(lab: Lab): Step {
  return [
    'the controller serves, both agents are back',
    async () => {
      await lab.frontend.startController();
      await waitForHosts(lab);
    },
  ];
}

/** After `spine`. @param begin gets what they have, and the boot id of each by its host */
export function bothAnswer(
  lab: Lab,
  begin: (given: Addresses, boots: ReadonlyMap<string, string>) => void,
): readonly Step[] {
  const answer = async (): Promise<void> => {
    const given = await addresses(lab);
    const boots = new Map<string, string>();
    for (const [host, { address }] of given) boots.set(host, await waitForGuest(lab, address));
    begin(given, boots);
  };
  return [hostsAreBack(lab), ['both domUs run and answer', answer]];
}
