import type { Vm } from '../../../shared/gen/domherd/v1/vm.js';
import { LeaseState } from '../../../shared/gen/domherd/v1/lease.js';
import { foldNames } from '../guest/guest-name.js';
import { vmAddresses, vmStateText } from './vm-view.js';

/** VMs for other programs: each has its names and its leased addresses, one without an address is left out. */
export interface Exported {
  readonly vm: Vm;
  /** As guest-name.ts has it. */
  readonly name: string;
}

/** Of the group of all VMs, and what the others begin with. */
const GROUP = 'domherd';
const LOGIN = 'root';

/** hosts(5). */
export function hostsFile(vms: readonly Exported[]): string {
  return lines(
    vms.flatMap(({ vm, name }) =>
      vmAddresses(vm).map((address, n) => `${address}\t${n === 0 ? name : `${name}-nic${String(n)}`}`),
    ),
  );
}

/** What nodeset(1) and clush(1) of ClusterShell take. */
export function nodeSet(vms: readonly Exported[]): string {
  const names = withAddress(vms).map(({ name }) => name);
  return names.length === 0 ? '' : `${foldNames(names)}\n`;
}

/** Options of dnsmasq(8): the lease of each NIC for DHCP, and its name for DNS. */
export function dnsmasqConf(vms: readonly Exported[]): string {
  return lines(
    vms.flatMap(({ vm, name }) =>
      leasesOf(vm).flatMap(({ mac, address }, n) => {
        const host = n === 0 ? name : `${name}-nic${String(n)}`;
        return [`dhcp-host=${mac},${address},${host}`, `host-record=${host},${address}`];
      }),
    ),
  );
}

/** An inventory file in Ansible's INI form, with a group for each host. */
export function ansibleInventory(vms: readonly Exported[]): string {
  const shown = withAddress(vms);
  const hosts = shown.map(({ vm, name }) => {
    const facts = Object.entries(factsOf(vm)).map(([key, value]) => `${key}=${String(value)}`);
    return [name, ...facts].join(' ');
  });
  const groups = [...groupsOf(shown)].flatMap(([group, names]) => ['', `[${group}]`, ...names]);
  return lines([`[${GROUP}]`, ...hosts, ...groups]);
}

/** What Ansible wants of a script that it calls with --list. */
export function ansibleScriptJson(vms: readonly Exported[]): string {
  const shown = withAddress(vms);
  const hostvars = Object.fromEntries(shown.map(({ vm, name }) => [name, factsOf(vm)]));
  const groups = [...groupsOf(shown)].map(([group, hosts]) => [group, { hosts }] as const);
  const all = { hosts: shown.map(({ name }) => name) };
  return `${JSON.stringify({ _meta: { hostvars }, [GROUP]: all, ...Object.fromEntries(groups) }, null, 2)}\n`;
}

function factsOf(vm: Vm): Readonly<Record<string, string | number | boolean>> {
  const [address = ''] = vmAddresses(vm);
  return {
    ansible_host: address,
    ansible_user: LOGIN,
    domherd_id: vm.id,
    domherd_host: vm.host,
    domherd_state: vmStateText(vm),
    ...(vm.simulated ? { domherd_simulated: true } : {}),
  };
}

/** By host. Ansible's groups are named as its variables are: letters, digits and underscores. */
function groupsOf(vms: readonly Exported[]): ReadonlyMap<string, readonly string[]> {
  const groups = new Map<string, string[]>();
  for (const { vm, name } of vms) {
    const group = `${GROUP}_on_${vm.host.replaceAll(/\W/g, '_')}`;
    groups.set(group, [...(groups.get(group) ?? []), name]);
  }
  return groups;
}

function withAddress(vms: readonly Exported[]): readonly Exported[] {
  return vms.filter(({ vm }) => vmAddresses(vm).length > 0);
}

function leasesOf({ vifs }: Vm): readonly { readonly mac: string; readonly address: string }[] {
  return vifs.flatMap(({ lease }) => (lease && lease.state !== LeaseState.EXPIRED ? [lease] : []));
}

function lines(texts: readonly string[]): string {
  return texts.map((text) => `${text}\n`).join('');
}
