import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { Mac } from '../../shared/domain/mac.js';
import type { VmId } from '../domain/lease.js';
import type { HostId, Vm } from '../domain/vm.js';

/** Many ids for one key. */
class Groups<K> {
  private readonly groups = new Map<K, Set<VmId>>();

  add(key: K, id: VmId): void {
    const group = this.groups.get(key);
    if (group) group.add(id);
    else this.groups.set(key, new Set([id]));
  }

  drop(key: K, id: VmId): void {
    const group = this.groups.get(key);
    group?.delete(id);
    if (group?.size === 0) this.groups.delete(key);
  }

  of(key: K): Iterable<VmId> {
    return this.groups.get(key) ?? [];
  }
}

/** Every known VM, found by whatever one has of it. It is as the database is, within its transactions too. */
export class VmIndex {
  private readonly vms = new Map<VmId, Vm>();
  private readonly hosts = new Map<HostId, Map<string, Vm>>();
  private readonly names = new Groups<string>();
  private readonly macs = new Groups<Mac>();
  private readonly addresses = new Groups<Ipv4>();

  /** @returns what it replaces */
  put(vm: Vm): Vm | undefined {
    const before = this.remove(vm.id);
    this.vms.set(vm.id, vm);
    this.hostMap(vm.hostId).set(vm.key, vm);
    this.names.add(vm.name, vm.id);
    for (const vif of vm.vifs) {
      if (vif.mac !== undefined) this.macs.add(vif.mac, vm.id);
      if (vif.guestAddress !== undefined) this.addresses.add(vif.guestAddress, vm.id);
    }
    return before;
  }

  /** @returns what was removed */
  remove(id: VmId): Vm | undefined {
    const vm = this.vms.get(id);
    if (!vm) return undefined;
    this.vms.delete(id);
    this.hostMap(vm.hostId).delete(vm.key);
    this.names.drop(vm.name, id);
    for (const vif of vm.vifs) {
      if (vif.mac !== undefined) this.macs.drop(vif.mac, id);
      if (vif.guestAddress !== undefined) this.addresses.drop(vif.guestAddress, id);
    }
    return vm;
  }

  byId(id: VmId): Vm | undefined {
    return this.vms.get(id);
  }

  byKey(hostId: HostId, key: string): Vm | undefined {
    return this.hosts.get(hostId)?.get(key);
  }

  byName(name: string): Vm[] {
    return this.resolve(this.names.of(name));
  }

  /** VMs with a vif whose cfg has it, gone ones too. */
  byMac(mac: Mac): Vm[] {
    return this.resolve(this.macs.of(mac));
  }

  /** VMs with a guest file that has it, gone ones too. */
  byAddress(address: Ipv4): Vm[] {
    return this.resolve(this.addresses.of(address));
  }

  onHost(hostId: HostId): Vm[] {
    return [...(this.hosts.get(hostId)?.values() ?? [])];
  }

  all(): Iterable<Vm> {
    return this.vms.values();
  }

  private hostMap(hostId: HostId): Map<string, Vm> {
    const known = this.hosts.get(hostId);
    if (known) return known;
    const fresh = new Map<string, Vm>();
    this.hosts.set(hostId, fresh);
    return fresh;
  }

  private resolve(ids: Iterable<VmId>): Vm[] {
    return [...ids].flatMap((id) => this.vms.get(id) ?? []);
  }
}
