import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { wrongState } from '../../../shared/errors.js';
import { VmServiceClient, VmState, type Vm, type VmSelector } from '../../../shared/gen/domherd/v1/vm.js';
import { callUnary } from '../../../shared/grpc/client.js';
import { withClient } from '../connection.js';
import { dom0FolderOf, sshTarget, type Dom0Folder } from '../dom0/dom0-folder.js';
import { fanOut } from '../fan-out.js';
import type { Invocation } from '../invocation.js';
import { CALL } from '../limit.js';
import { tell } from '../output.js';
import { sshProbe } from '../reach-probe.js';
import { vmAddresses, vmName, vmStateText } from '../view/vm-view.js';
import { guestNames } from './guest-name.js';
import { formatKnownHosts, formatSshConfig, type SshGuest } from './ssh-config.js';

export interface LoginOptions {
  readonly user?: string;
}

/** A VM of a selection, named as ssh has it. */
export interface NamedVm {
  readonly vm: Vm;
  readonly name: string;
}

/** Looks at VMs, of which each takes a socket and seconds where nobody answers. */
const PARALLEL = 256;
/** sockaddr_un less what ssh appends while it makes the socket, and our file name with a user of 20 characters. */
const MAX_CONTROL_FOLDER = 45;

/** @throws {AppError} `not_found`, `invalid` (a name that several have) */
export async function selectVms(call: Invocation, selector: VmSelector): Promise<readonly NamedVm[]> {
  return withClient(call, VmServiceClient, async (client) => {
    const list = client.list.bind(client);
    const { vms: all } = await callUnary(list, { selector: { names: [], all: true } }, CALL);
    const { vms } = selector.all ? { vms: all } : await callUnary(list, { selector }, CALL);
    const names = guestNames(all);
    return vms.map((vm) => ({ vm, name: names.get(vm.id) ?? vmName(vm) }));
  });
}

/** @returns those that have an address; how many have none is told */
export function withLease(call: Invocation, vms: readonly NamedVm[]): readonly NamedVm[] {
  const shown = vms.filter(({ vm }) => vmAddresses(vm).length > 0);
  const without = vms.length - shown.length;
  if (without > 0) tell(call, `${String(without)} of ${String(vms.length)} VMs have no lease and are left out`);
  return shown;
}

/** Why ssh cannot get to a VM; `undefined` if it can be tried. */
export function refuseSsh(vm: Vm): string | undefined {
  if (vm.simulated) return 'it is simulated: there is no guest to log in to';
  if (vm.state !== VmState.RUNNING) return `it is ${vmStateText(vm)}`;
  return vmAddresses(vm).length === 0 ? 'it has no lease' : undefined;
}

/** @throws {AppError} `wrong_state` unless it runs and has an address */
export function expectReachable({ vm }: NamedVm): void {
  const reason = refuseSsh(vm);
  if (reason === undefined) return;
  const name = vmName(vm);
  throw wrongState(`${name} cannot be reached: ${reason}`, { vm: name, hint: reachHint(vm, name) });
}

function reachHint(vm: Vm, name: string): string {
  if (vm.simulated) return 'VMs of the xl toolstack have guests; domherd host list shows which host has which';
  if (vm.state === VmState.RUNNING) return `shut it down, then: domherd vm address ${name}`;
  return `domherd vm start ${name} && domherd vm wait ${name} --for=ssh`;
}

/** An ssh that knows VMs by name, in a folder that goes when the work is done. */
export interface GuestSsh {
  /** What ssh and scp take before anything else. */
  readonly options: readonly string[];
  /** As ssh has it, by VM id. */
  readonly nameOf: (vmId: number) => string;
}

/** VMs that do not answer from here are reached through their dom0, where `host add` has been there. */
export async function withGuestSsh<T>(
  call: Invocation,
  vms: readonly NamedVm[],
  { user }: LoginOptions,
  work: (ssh: GuestSsh) => Promise<T>,
): Promise<T> {
  const folder = dom0FolderOf(call.world);
  await folder.make();
  const guests = await routesTo(call, folder, vms);
  const temporary = await mkdtemp(join(tmpdir(), 'dh-'));
  try {
    const path = join(temporary, 'config');
    const hostKeys = join(temporary, 'known_hosts');
    await writeFile(hostKeys, formatKnownHosts(guests), { mode: 0o600 });
    await writeFile(path, await configText(call, folder, guests, hostKeys, user), { mode: 0o600 });
    const names = new Map(guests.map(({ vmId, name }) => [vmId, name]));
    return await work({ options: ['-F', path], nameOf: (vmId) => names.get(vmId) ?? String(vmId) });
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

/**
 * For people to include: a VM that does not run yet is in it too.
 *
 * @param all every VM of the fleet
 */
export async function configFor(
  call: Invocation,
  vms: readonly NamedVm[],
  all: readonly NamedVm[],
  { user }: LoginOptions,
): Promise<string> {
  const folder = dom0FolderOf(call.world);
  await folder.make();
  const guests = await routesTo(call, folder, vms);
  const hostKeys = await keepHostKeys(call, folder, all);
  return formatSshConfig(guests, { user: user ?? 'root', knownHosts: knownHostsOf(folder), hostKeys });
}

/** Of all VMs, so that one whose configuration was printed before is known still. */
async function keepHostKeys({ world }: Invocation, folder: Dom0Folder, all: readonly NamedVm[]): Promise<string> {
  const path = join(folder.path, 'vms.host_keys');
  const temporary = `${path}.${String(world.pid)}.tmp`;
  await writeFile(temporary, formatKnownHosts(all.map(({ vm }) => ({ vmId: vm.id, hostKeys: vm.hostKeys }))));
  await rename(temporary, path);
  return path;
}

/**
 * A VM that answers is reached from here, another one through its dom0, which is a way at any time. One that does not run is
 * taken for what the others are: from here if any of them answers.
 */
async function routesTo(
  { world }: Invocation,
  folder: Dom0Folder,
  vms: readonly NamedVm[],
): Promise<readonly SshGuest[]> {
  const looks = await fanOut(vms, PARALLEL, async (named) => {
    const jump = await jumpTo(folder, named.vm);
    const guest = guestOf(named);
    if (jump === undefined || refuseSsh(named.vm) !== undefined) return { guest, jump, hasAnswered: undefined };
    const silence = await sshProbe().look(guest.address, world.signal);
    return { guest, jump, hasAnswered: silence === undefined };
  });
  const isRouted = looks.some(({ hasAnswered }) => hasAnswered);
  return looks.map(({ guest, jump, hasAnswered = isRouted }) => (hasAnswered ? guest : { ...guest, jump }));
}

async function jumpTo(folder: Dom0Folder, { host }: Vm): Promise<SshGuest['jump']> {
  const record = await folder.load(host);
  return record && sshTarget(folder, host, record);
}

function guestOf({ vm, name }: NamedVm): SshGuest {
  return { name, vmId: vm.id, address: vmAddresses(vm)[0] ?? '', jump: undefined, hostKeys: vm.hostKeys };
}

/** The user's own configuration counts after ours: it has the keys and their agents. */
async function configText(
  call: Invocation,
  folder: Dom0Folder,
  guests: readonly SshGuest[],
  hostKeys: string,
  user = 'root',
): Promise<string> {
  const controlFolder = await makeControlFolder(call, folder);
  const ours = formatSshConfig(guests, { user, knownHosts: knownHostsOf(folder), hostKeys, controlFolder });
  const own = join(call.world.user().home, '.ssh', 'config');
  return `${ours}\nMatch all\nInclude "${own}"\nInclude /etc/ssh/ssh_config\n`;
}

/** `undefined`: a unix socket in it would have too long a path. */
async function makeControlFolder({ world }: Invocation, { path }: Dom0Folder): Promise<string | undefined> {
  const runtime = world.env['XDG_RUNTIME_DIR'];
  const folder = join(runtime || path, runtime ? 'domherd-ssh' : 'vm');
  if (folder.length > MAX_CONTROL_FOLDER) return undefined;
  await mkdir(folder, { recursive: true, mode: 0o700 });
  return folder;
}

function knownHostsOf(folder: Dom0Folder): string {
  return join(folder.path, 'vms.known_hosts');
}
