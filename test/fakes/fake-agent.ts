import type { HostBridges } from '../../shared/domain/bridge.js';
import type { HostStore } from '../../shared/domain/host-store.js';
import type { AgentLink, Order, OrderAction, OrderOutcome, VifLease } from '../../controller/ports/agent-link.js';
import type { Hello } from '../../controller/domain/hello.js';
import type { HostId, ObservedVm } from '../../controller/domain/vm.js';
import type { Fleet } from '../../controller/services/fleet.js';
import type { SessionHandle } from '../../controller/services/host-session.js';
import { PROTOCOL } from '../../shared/version.js';

export interface FakeAgentOptions {
  readonly fleet: Fleet;
  readonly hostId: HostId;
  readonly deploymentId: string;
  readonly nowMs: () => number;
  readonly vms: readonly ObservedVm[];
}

/** What an agent does with an order: `silent`: it never answers. */
export type Behaviour = (order: Order, agent: FakeAgent) => OrderOutcome | 'silent';

/** An agent that does at once what it is told, on VMs that are only data. It runs an order once, as real ones do. */
export class FakeAgent implements AgentLink {
  readonly options: FakeAgentOptions;
  /** Of the controller that it connects to. */
  fleet: Fleet;
  readonly vms: Map<string, ObservedVm>;
  /** Every order that came, repeated ones too. */
  readonly received: Order[] = [];
  readonly cancelled: string[] = [];
  /** Each time that they were told. */
  readonly leases: (readonly VifLease[])[] = [];
  readonly ran: Order[] = [];
  endedWith: { readonly code: string; readonly reason: string } | undefined;
  behave: Behaviour = obey;
  /** `undefined`: an agent that does not tell of them. */
  bridges: HostBridges | undefined;
  /** As the bridges. */
  stores: readonly HostStore[] | undefined;
  /** While false, outcomes are kept back: the link is dead, the agent is not. */
  answers = true;
  sessionCounter = 0;
  session: SessionHandle | undefined;
  /** Came with the new session, before it could be answered. */
  readonly #early: Order[] = [];
  readonly #outcomes = new Map<string, OrderOutcome>();

  constructor(options: FakeAgentOptions) {
    this.options = options;
    this.fleet = options.fleet;
    this.vms = new Map(options.vms.map((vm) => [vm.key, vm]));
  }

  hello(change: Partial<Hello> = {}): Hello {
    const facts = {
      agentVersion: '0',
      nodeVersion: '20',
      kernel: '6',
      xenVersion: '4.17',
      cpus: 8,
      memoryMib: 16384,
      memoryFreeMib: 8192,
      cfgFolder: '/etc/xen',
    };
    const { deploymentId, nowMs } = this.options;
    const sessionCounter = ++this.sessionCounter;
    return {
      protocol: PROTOCOL,
      facts,
      deploymentId,
      bootId: 'boot-1',
      sessionCounter,
      isSimulated: true,
      nowMs: nowMs(),
      ...change,
    };
  }

  async connect(change: Partial<Hello> = {}): Promise<this> {
    this.endedWith = undefined;
    this.session = await this.fleet.connect(this.options.hostId, this.hello(change), this);
    await this.session.fullState([...this.vms.values()], this.bridges, this.stores);
    for (const order of this.#early.splice(0)) void this.run(order);
    return this;
  }

  /** The link breaks without a word. */
  kill(): void {
    this.session?.closed();
    this.session = undefined;
  }

  async set(key: string, change: Partial<ObservedVm>): Promise<void> {
    const vm = this.change(key, change);
    await this.session?.change([vm], []);
  }

  change(key: string, change: Partial<ObservedVm>): ObservedVm {
    const before = this.vms.get(key);
    if (!before) throw new Error(`fake agent has no VM ${key}`);
    const vm = { ...before, ...change };
    this.vms.set(key, vm);
    return vm;
  }

  sendOrder(order: Order): void {
    this.received.push(order);
    if (this.session) queueMicrotask(() => void this.run(order));
    else this.#early.push(order);
  }

  sendLeases(leases: readonly VifLease[]): void {
    this.leases.push(leases);
  }

  cancelOrder(orderId: string): void {
    this.cancelled.push(orderId);
  }

  close(code: string, reason: string): void {
    this.endedWith = { code, reason };
    this.session = undefined;
  }

  copy({ sourceKey, name, shape }: Extract<OrderAction, { kind: 'copy' }>, key: string): ObservedVm {
    const source = this.vms.get(sourceKey);
    if (!source) throw new Error(`fake agent has no VM ${sourceKey}`);
    const extra = (shape.extraVifs ?? []).map((bridge, n) => {
      return { index: source.vifs.length + n, mac: undefined, bridge, guestAddress: undefined };
    });
    const vifs = [...source.vifs.map((vif) => ({ ...vif, mac: undefined })), ...extra];
    const size = { memoryMib: shape.memoryMib ?? source.memoryMib, vcpus: shape.vcpus ?? source.vcpus };
    const vm = { ...source, ...size, key, cfgPath: key, name, vifs };
    this.vms.set(key, vm);
    return vm;
  }

  make({ name, shape }: Extract<OrderAction, { kind: 'make' }>, key: string): ObservedVm {
    const vifs = ['', ...(shape.extraVifs ?? [])].map((bridge, index) => {
      return { index, mac: undefined, bridge: bridge || undefined, guestAddress: undefined };
    });
    const { memoryMib = 0, vcpus = 0 } = shape;
    const vm: ObservedVm = { ...imageVm(), key, cfgPath: key, name, memoryMib, vcpus, vifs };
    this.vms.set(key, vm);
    return vm;
  }

  receive({ transferId, copy }: Extract<OrderAction, { kind: 'receive' }>, key: string): OrderOutcome {
    const source = SENT.get(transferId);
    if (!source) return { kind: 'failed', code: 'unavailable', message: 'nothing comes', details: {}, vm: undefined };
    const vifs = source.vifs.map((vif) => ({ ...vif, mac: copy ? undefined : vif.mac }));
    const vm = { ...source, key, cfgPath: key, name: copy?.name ?? source.name, vifs };
    this.vms.set(key, vm);
    return { kind: 'done', vm };
  }

  /** A domain that goes while it runs. */
  move(action: LiveStep, key: string): OrderOutcome {
    const vm = this.vms.get(key);
    const failed = (code: string, message: string): OrderOutcome => ({
      ...{ kind: 'failed', code, message, details: {}, vm },
    });
    const parcel = PARCELS.get(action.migrationId) ?? { isOpen: false, vm: undefined };
    switch (action.kind) {
      case 'offer': {
        const nothing = { uuid: '', xenVersion: '', memoryMib: 0, cfgText: '', disks: [], publicKey: '' };
        return { kind: 'done', vm, offer: { name: vm?.name ?? '', ...nothing } };
      }
      case 'admit': {
        const made = imageVm({ key, cfgPath: key, name: action.offer.name });
        this.vms.set(key, made);
        PARCELS.set(action.migrationId, { isOpen: true, vm: undefined });
        return { kind: 'done', vm: made, admission: { addresses: [], port: 22, hostKeys: [], samples: [] } };
      }
      case 'handOver':
        if (!parcel.isOpen || vm === undefined) return failed('unavailable', 'it is not let in');
        PARCELS.set(action.migrationId, { isOpen: true, vm });
        return { kind: 'done', vm: this.change(key, { state: 'stopped' }) };
      case 'settleArrival':
        PARCELS.set(action.migrationId, { ...parcel, isOpen: false });
        if (parcel.vm !== undefined) {
          if (parcel.isOpen) this.vms.set(key, { ...parcel.vm, key, cfgPath: key });
          return { kind: 'done', vm: this.vms.get(key) };
        }
        if (parcel.isOpen) this.vms.delete(key);
        return { ...failed('not_found', 'it has not come'), vm: undefined };
      case 'settleDeparture':
        if (action.isMoved) this.vms.delete(key);
        return { kind: 'done', vm: this.vms.get(key) };
    }
  }

  private async run(order: Order): Promise<void> {
    const former = this.#outcomes.get(order.orderId);
    // What it came to, and the VM as it is now.
    const outcome = former ? { ...former, vm: this.vms.get(order.vmKey), isAgain: true } : this.runOnce(order);
    if (outcome === 'silent' || !this.answers) return;
    await this.session?.result(order.orderId, outcome).catch((error: unknown) => {
      // The controller died while it read.
      if (this.session) throw error;
    });
  }

  private runOnce(order: Order): OrderOutcome | 'silent' {
    this.ran.push(order);
    const outcome = this.behave(order, this);
    if (outcome !== 'silent') this.#outcomes.set(order.orderId, outcome);
    return outcome;
  }
}

/** By transfer: what all agents of a test sent. */
const SENT = new Map<string, ObservedVm>();

/** By migration: whether it may come, and what has. */
const PARCELS = new Map<string, { readonly isOpen: boolean; readonly vm: ObservedVm | undefined }>();

type LiveStep = Extract<OrderAction, { readonly migrationId: string }>;

function isLiveStep(action: OrderAction): action is LiveStep {
  return 'migrationId' in action;
}

/** Does what the order says. */
export const obey: Behaviour = (order, agent) => {
  const { action, vmKey } = order;
  if (action.kind === 'copy') return { kind: 'done', vm: agent.copy(action, vmKey) };
  if (action.kind === 'make') return { kind: 'done', vm: agent.make(action, vmKey) };
  if (action.kind === 'send') {
    const sent = agent.vms.get(vmKey);
    if (sent) SENT.set(action.transferId, sent);
    return { kind: 'done', vm: sent };
  }
  if (action.kind === 'receive') return agent.receive(action, vmKey);
  if (isLiveStep(action)) return agent.move(action, vmKey);
  if (action.kind === 'remove' || action.kind === 'leave') {
    agent.vms.delete(vmKey);
    return { kind: 'done', vm: undefined };
  }
  if (action.kind === 'rename') {
    const vm = agent.vms.get(vmKey) ?? agent.vms.get(action.cfgPath);
    if (!vm) return { kind: 'failed', code: 'not_found', message: 'there is none', details: {}, vm: undefined };
    agent.vms.delete(vmKey);
    const named = { ...vm, key: action.cfgPath, cfgPath: action.cfgPath, name: action.name };
    agent.vms.set(action.cfgPath, named);
    return { kind: 'done', vm: named };
  }
  if (action.kind === 'set') {
    const { memoryMib, vcpus } = action;
    return { kind: 'done', vm: agent.change(vmKey, { ...(memoryMib && { memoryMib }), ...(vcpus && { vcpus }) }) };
  }
  if (action.kind === 'setAutostart') {
    return { kind: 'done', vm: agent.change(vmKey, { isAutostarted: action.isOn }) };
  }
  const isLook = action.kind === 'openConsole' || action.kind === 'look' || action.kind === 'readStores';
  if (isLook) return { kind: 'done', vm: agent.vms.get(vmKey) };
  if (action.kind !== 'configure') {
    return { kind: 'done', vm: agent.change(vmKey, { state: STATE_AFTER[action.kind] }) };
  }
  const before = agent.vms.get(vmKey);
  const vifs = (before?.vifs ?? []).map((vif) => {
    const given = action.vifs.find(({ index }) => index === vif.index);
    return given ? { ...vif, mac: given.mac, guestAddress: given.address, bridge: given.bridge ?? vif.bridge } : vif;
  });
  return { kind: 'done', vm: agent.change(vmKey, { vifs }) };
};

/** What a VM is after an order that was done. */
const STATE_AFTER: Readonly<
  Record<
    Exclude<
      OrderAction['kind'],
      | ('copy' | 'make' | 'remove' | 'send' | 'receive' | 'leave' | 'rename')
      | LiveStep['kind']
      | ('openConsole' | 'look' | 'readStores' | 'set' | 'setAutostart')
    >,
    ObservedVm['state']
  >
> = {
  configure: 'stopped',
  start: 'running',
  shutdown: 'stopped',
  destroy: 'stopped',
  reboot: 'running',
  restart: 'running',
  pause: 'paused',
  unpause: 'running',
  restoreFiles: 'stopped',
};

/** A stopped domU of the tutorial's image: every copy of it has this MAC. */
export function imageVm(change: Partial<ObservedVm> = {}): ObservedVm {
  return {
    key: '/etc/xen/domU.cfg',
    name: 'domU',
    cfgPath: '/etc/xen/domU.cfg',
    uuid: undefined,
    state: 'stopped',
    memoryMib: 512,
    vcpus: 1,
    vifs: [{ index: 0, mac: IMAGE_MAC, bridge: 'br0', guestAddress: undefined }],
    problem: undefined,
    ...change,
  };
}

export const IMAGE_MAC = 0x00163e_abcdef as NonNullable<ObservedVm['vifs'][number]['mac']>;
