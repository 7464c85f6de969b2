import { invalid } from '../../shared/errors.js';
import {
  configFor,
  expectReachable,
  selectVms,
  withLease,
  withGuestSsh,
  type LoginOptions,
  type NamedVm,
} from './guest/guest-ssh.js';
import type { Invocation } from './invocation.js';

export interface ScpOptions extends LoginOptions {
  readonly recursive?: boolean;
}

/** @returns ssh's exit code, which is the command's: 255 if ssh did not get there */
export async function sshToVm(
  call: Invocation,
  [name = '', ...command]: readonly string[],
  options: LoginOptions,
): Promise<number> {
  const vm = await selectOne(call, name);
  return withGuestSsh(call, [vm], options, (ssh) => {
    return call.world.attach(['ssh', ...ssh.options, '--', ssh.nameOf(vm.vm.id), ...command]);
  });
}

/** @returns scp's exit code */
export async function copyByScp(call: Invocation, paths: readonly string[], options: ScpOptions): Promise<number> {
  const parsed = paths.map(parsePath);
  if (paths.length < 2) throw invalid('scp needs a source and a destination', { hint: SCP_HINT });
  const names = [...new Set(parsed.flatMap(({ vm }) => vm ?? []))];
  if (names.length === 0) throw invalid('none of the paths is in a VM', { hint: SCP_HINT });
  const vms = new Map<string, NamedVm>();
  for (const name of names) vms.set(name, await selectOne(call, name));
  return withGuestSsh(call, [...vms.values()], options, (ssh) => {
    const args = parsed.map(({ vm, path }) => {
      const named = vm === undefined ? undefined : vms.get(vm);
      // A path of this machine with a colon in it must not be taken for a host's.
      return named ? `${ssh.nameOf(named.vm.id)}:${path}` : localPath(path);
    });
    return call.world.attach(['scp', ...ssh.options, ...(options.recursive ? ['-r'] : []), '--', ...args]);
  });
}

/** Names VMs that have an address; the others are told of. */
export async function printSshConfig(
  call: Invocation,
  names: readonly string[],
  options: LoginOptions,
): Promise<number> {
  const vms = await selectVms(call, { names: [...names], all: names.length === 0 });
  const all = names.length === 0 ? vms : await selectVms(call, { names: [], all: true });
  call.world.stdout.write(await configFor(call, withLease(call, vms), all, options));
  return 0;
}

const SCP_HINT = 'domherd vm scp ./file web-7:/root/, or domherd vm scp web-7:/var/log/syslog .';

async function selectOne(call: Invocation, name: string): Promise<NamedVm> {
  const [vm, other] = await selectVms(call, { names: [name], all: false });
  if (vm === undefined || other !== undefined) throw invalid(`${name} is not one VM`, { hint: 'see domherd vm list' });
  expectReachable(vm);
  return vm;
}

/** As scp reads them: what has a `/` before its first `:` is a path of this machine. */
function parsePath(text: string): { readonly vm: string | undefined; readonly path: string } {
  const [, vm, path = ''] = /^([^/:]+):(.*)$/s.exec(text) ?? [];
  return vm === undefined ? { vm, path: text } : { vm, path };
}

function localPath(path: string): string {
  return path.startsWith('/') || path.startsWith('.') ? path : `./${path}`;
}
