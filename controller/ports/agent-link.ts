import type { ErrorDetails } from '../../shared/errors.js';
import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { VmSetting } from '../../shared/domain/vm-setting.js';
import type { HostStore } from '../../shared/domain/host-store.js';
import type { LiveAdmission, LiveOffer } from '../../shared/domain/live-migration.js';
import type { Mac } from '../../shared/domain/mac.js';
import type { MakeSource } from '../../shared/domain/make-source.js';
import type { Storage, VmShape } from '../../shared/domain/vm-shape.js';
import type { InterfaceSettings } from '../domain/reservation.js';
import type { ObservedVm } from '../domain/vm.js';
import type { VmLook } from '../domain/vm-look.js';

/** What a host can be told to do with one of its domUs. */
export type OrderAction =
  | ({ readonly kind: 'configure' } & ConfigureGuest)
  | { readonly kind: 'start' }
  | { readonly kind: 'shutdown'; readonly timeoutSeconds: number; readonly isDestroyedAfter: boolean }
  | { readonly kind: 'destroy' }
  | { readonly kind: 'reboot'; readonly timeoutSeconds: number }
  /** Shut down, if it is not stopped, and started: carried out whether the controller lives or not. */
  | { readonly kind: 'restart'; readonly timeoutSeconds: number; readonly isDestroyedAfter: boolean }
  | { readonly kind: 'pause' }
  | { readonly kind: 'unpause' }
  /** Cfg and guest get the files that they had before they were configured. */
  | { readonly kind: 'restoreFiles' }
  /** Makes the VM, of another one on its host. */
  | {
      readonly kind: 'copy';
      readonly sourceKey: string;
      readonly name: string;
      /** For a cfg that has one. */
      readonly uuid: string;
      readonly shape: VmShape;
    }
  /** Makes the VM, of something that is no VM. */
  | {
      readonly kind: 'make';
      readonly name: string;
      readonly uuid: string;
      readonly shape: VmShape;
      readonly source: MakeSource;
      /** What its first vif is leased, for an installer that writes it. */
      readonly vif?: ConfigureVif | undefined;
    }
  /** Takes away a VM that was made so. */
  | { readonly kind: 'remove' }
  /** Its cfg, and what runs as far as it can; what is not given stays. */
  | {
      readonly kind: 'set';
      readonly memoryMib: number | undefined;
      readonly vcpus: number | undefined;
      readonly settings: readonly VmSetting[];
    }
  /** Whether its host starts it when that boots. */
  | { readonly kind: 'setAutostart'; readonly isOn: boolean }
  /** Tells what disks are kept in, whatever VM is named. */
  | { readonly kind: 'readStores' }
  /** Sends cfg and disks as a transfer. */
  /** `needsSeed`: its copy is given user data. */
  | { readonly kind: 'send'; readonly transferId: string; readonly isMoved: boolean; readonly needsSeed: boolean }
  /** Makes the VM of what comes as a transfer. */
  | {
      readonly kind: 'receive';
      readonly transferId: string;
      /** `undefined`: it is no copy, but the VM itself, which stays what it was. */
      readonly copy: { readonly name: string; readonly uuid: string; readonly shape: VmShape } | undefined;
      /** Of the VM itself: how its disks are kept; `undefined`: in files. */
      readonly storage?: Storage | undefined;
    }
  /** Takes away a VM that another host has now, whoever made it. */
  | { readonly kind: 'leave' }
  /** Gives it another name; `cfgPath` is its key from then on. */
  | { readonly kind: 'rename'; readonly name: string; readonly cfgPath: string; readonly guest: ConfigureGuest }
  /** Tells what another host has to know before it goes there live. */
  | { readonly kind: 'offer'; readonly migrationId: string }
  /** Checks that, and lets it in. */
  | { readonly kind: 'admit'; readonly migrationId: string; readonly offer: LiveOffer }
  /** Sends it. What fails may have happened all the same: `settleArrival` tells. */
  | {
      readonly kind: 'handOver';
      readonly migrationId: string;
      readonly offer: LiveOffer;
      readonly admission: LiveAdmission;
    }
  /** Done: it has come. `not_found`: it has not, and will not. */
  | { readonly kind: 'settleArrival'; readonly migrationId: string }
  /** Ends what is left of it where it was, its cfg included if it is the other host's now; disks stay. */
  | { readonly kind: 'settleDeparture'; readonly migrationId: string; readonly isMoved: boolean }
  /** Dials with its console, or its log. */
  | { readonly kind: 'openConsole'; readonly consoleId: string; readonly log: ConsoleLogTail | undefined }
  /** Tells of its cfg, disks and console. */
  | { readonly kind: 'look' };

export interface ConfigureGuest {
  readonly vifs: readonly ConfigureVif[];
  /** `undefined`: the guest keeps its own. */
  readonly hostname: string | undefined;
}

export interface ConsoleLogTail {
  /** The last so many: 1 to 100,000. */
  readonly lines: number;
  /** What is added later follows. */
  readonly isFollowed: boolean;
}

/** Those that make a VM. */
export type MakeOrder = Extract<OrderAction, { readonly kind: 'copy' | 'make' }>;

export interface ConfigureVif {
  readonly index: number;
  readonly mac: Mac;
  readonly address: Ipv4;
  readonly settings: InterfaceSettings;
  /** The first vif with an address has it. */
  readonly hasDefaultRoute: boolean;
  /** Asked for, should the cfg name none that exists; `undefined`: the host chooses. */
  readonly bridge?: string | undefined;
  /** Of the lease's reservation, milliseconds since 1970. */
  readonly leaseEndsAtMs?: number | undefined;
}

export interface Order {
  /** An order repeated with its id is not run twice. */
  readonly orderId: string;
  readonly vmKey: string;
  /** 1,000 to 7,200,000. */
  readonly timeoutMs: number;
  readonly action: OrderAction;
}

export type OrderOutcome =
  | {
      readonly kind: 'done';
      readonly vm: ObservedVm | undefined;
      /** It was known before: the order came again, or it was told in a session that is over. */
      readonly isAgain?: boolean | undefined;
      /** For people: what is dangerous in this VM and was left as it is. */
      readonly warnings?: readonly string[];
      /** Of `readStores`. */
      readonly stores?: readonly HostStore[] | undefined;
      /** Of an order to look. */
      readonly look?: VmLook | undefined;
      /** Of an order to offer. */
      readonly offer?: LiveOffer | undefined;
      /** Of an order to admit. */
      readonly admission?: LiveAdmission | undefined;
    }
  | {
      readonly kind: 'failed';
      /** An ErrorCode; `already_exists` with details `address` and `seenMac` when the wire says that it is in use. */
      readonly code: string;
      readonly message: string;
      readonly details: ErrorDetails;
      readonly vm: ObservedVm | undefined;
      /** As of one that is done. */
      readonly isAgain?: boolean | undefined;
    };

/** The lease of a vif, as its host remembers it for a boot without the controller. */
export interface VifLease {
  readonly cfgPath: string;
  readonly vifIndex: number;
  readonly address: Ipv4;
  readonly mac: Mac;
  /** Milliseconds since 1970. */
  readonly endsAtMs: number;
}

/** One connected agent's session. */
export interface AgentLink {
  /** Queues it for sending; the outcome comes back through the fleet's `orderFinished`. */
  sendOrder(order: Order): void;
  cancelOrder(orderId: string): void;
  /** All that the host's vifs have; replaces what was told before. */
  sendLeases(leases: readonly VifLease[]): void;
  /** Ends the stream with this reason. */
  close(code: 'unauthenticated' | 'unavailable' | 'raced', reason: string): void;
}
