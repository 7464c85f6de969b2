import { existsSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { waitFor, type Lab } from '../lab.js';
import { domherd, vms, type VmJson } from './cli.js';

export async function find(lab: Lab, name: string): Promise<VmJson> {
  const vm = (await vms(lab)).find((each) => each.name === name);
  if (!vm) throw new Error(`there is no ${name}`);
  return vm;
}

/**
 * Shell lines for a dom0: the image's own disk goes on a device, and a VM gets that alone. Its cfg comes whole: the agent watches.
 *
 * @param edits more of its cfg, as arguments of sed
 */
export function makeOnDevice(name: string, device: string, edits = ''): string {
  return `dd if=/opt/xen/domU/disk.img of=${device} bs=1M conv=fsync status=none
sed -e "s/'domU'/'${name}'/" -e "/swap.img/d" -e "s|file:/opt/xen/domU/disk.img|phy:${device}|" ${edits} \\
  /etc/xen/domU.cfg > /tmp/${name}.cfg
mv /tmp/${name}.cfg /etc/xen/`;
}

/** Until it is known: its cfg was put there by hand. */
export async function waitForVm(lab: Lab, name: string): Promise<void> {
  await waitFor(name, async () => (await vms(lab)).some((vm) => vm.name === name), 60_000, 1000);
}

/** Until only the image's own domUs are known, one a dom0: other cfgs were taken away by hand. */
export async function waitForImageVms(lab: Lab): Promise<void> {
  await waitFor('the end of other VMs', async () => (await vms(lab)).length === lab.hosts.length, 60_000, 1000);
}

/** On the frontend; NAME.pub beside it. @returns its path */
export async function makeKey(lab: Lab, name: string): Promise<string> {
  const key = `${lab.frontend.home}/${name}`;
  if (!existsSync(key)) await lab.frontend.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f', key]);
  return key;
}

/** Logs in with one key alone, the user's. */
export async function logIn(lab: Lab, name: string, key = 'user'): Promise<string> {
  const address = (await find(lab, name)).vifs[0]?.lease?.address ?? '';
  const argv = ['ssh', '-i', `${lab.frontend.home}/${key}`, '-o', 'IdentitiesOnly=yes', '-o', 'BatchMode=yes'] as const;
  const { exitCode, stdout, stderr } = await lab.frontend.run([...argv, address, 'hostname'], { limitMs: 60_000 });
  if (exitCode !== 0) throw new Error(`ssh to ${name} with the key ${key}: ${stderr}`);
  return stdout.trim();
}

/** @param names as a command has them, or --all */
export async function startAndReach(lab: Lab, names: string): Promise<void> {
  await domherd(lab, `vm start ${names}`);
  await domherd(lab, `vm wait ${names} --for=ping --timeout 5m`);
  await domherd(lab, `vm wait ${names} --for=ssh --timeout 5m`);
}

export function consoleLog(lab: Lab, name: string): Promise<string> {
  return domherd(lab, `vm console ${name} --log --lines 400`);
}

const SUMS = 'sha256sum /opt/xen/domU/*.img /etc/xen/domU.cfg';

/** By dom0: of the image's own domU. */
export function imageSums(lab: Lab): Promise<readonly string[]> {
  return Promise.all(lab.hosts.map((host) => lab.must(host, SUMS)));
}

/** By dom0: the files of all VMs with their sizes, and then {@link imageSums}. */
export function vmFiles(lab: Lab): Promise<readonly string[]> {
  const files = 'find /etc/xen /opt/xen -type f -printf "%p %s\\n" | sort';
  return Promise.all(lab.hosts.map((host) => lab.must(host, `${files}; ${SUMS}`)));
}

export async function leaseStates(lab: Lab): Promise<readonly string[]> {
  const leases = JSON.parse(await domherd(lab, 'lease list -o json')) as readonly { readonly state: string }[];
  return [...new Set(leases.map(({ state }) => state))];
}

/** As both dom0s call what {@link plugShared} plugs. */
export const SHARED_DEVICE = '/dev/vdb';

/** As a SAN does. A dom0 that was not told of it looks again. */
export async function plugShared(lab: Lab): Promise<void> {
  const file = join(lab.folder, 'shared.raw');
  const bytes = Number(await lab.must('dom0-1', 'stat -c %s /opt/xen/domU/disk.img'));
  writeFileSync(file, '');
  truncateSync(file, Math.ceil(bytes / 2 ** 20) * 2 ** 20);
  for (const host of lab.hosts) {
    await lab.machine(host).plugShared(file, 'domherd-lab-shared-1');
    const isThere = async (): Promise<boolean> =>
      (await lab.ssh(host, ['sh', '-c', `echo 1 > /sys/bus/pci/rescan; test -b ${SHARED_DEVICE}`])).exitCode === 0;
    await waitFor(`${SHARED_DEVICE} of ${host}`, isThere, 60_000, 1000);
  }
}
