import type { ErrorCode, ErrorDetails } from '../../shared/errors.js';
import type { Ipv4 } from '../../shared/domain/ipv4.js';
import type { VmSetting } from '../../shared/domain/vm-setting.js';
import type { HostStore } from '../../shared/domain/host-store.js';
import type { LiveAdmission, LiveOffer } from '../../shared/domain/live-migration.js';
import type { Mac } from '../../shared/domain/mac.js';
import type { Storage } from '../../shared/domain/vm-shape.js';
import type { CopySettings } from './copy-plan.js';
import type { MakeSettings } from './image/image-plan.js';
import type { ObservedVm } from './vm.js';
import type { VmLook } from './vm-look.js';

/** What a guest needs besides its address. */
export interface InterfaceSettings {
  /** 1 to 30. */
  readonly prefixLength: number;
  readonly broadcast: Ipv4;
  readonly gateway: Ipv4;
  readonly dns: readonly Ipv4[];
  /** DNS domain and search list; may be empty. */
  readonly domain: string;
}

export interface VifSettings {
  readonly index: number;
  readonly mac: Mac;
  readonly address: Ipv4;
  readonly settings: InterfaceSettings;
  readonly hasDefaultRoute: boolean;
  /** When its reservation is over, milliseconds since 1970; `undefined`: not known. */
  readonly leaseEndsAtMs?: number | undefined;
  /** Asked for, should the cfg name none that exists. */
  readonly bridge?: string | undefined;
}

/** `hostname` is `undefined` when the guest's is left alone. */
export interface GuestSettings {
  readonly vifs: readonly VifSettings[];
  readonly hostname: string | undefined;
}

export type OrderAction =
  | ({ readonly kind: 'configure' } & GuestSettings)
  | { readonly kind: 'start' }
  /** `timeoutSeconds`: 1 to 3,600; a guest that is still there then is destroyed, or left alone. */
  | { readonly kind: 'shutdown'; readonly timeoutSeconds: number; readonly isDestroyedAfter: boolean }
  | { readonly kind: 'destroy' }
  /** `timeoutSeconds`: 1 to 3,600. */
  | { readonly kind: 'reboot'; readonly timeoutSeconds: number }
  /** Shut down as above, if it is not stopped, then started. */
  | { readonly kind: 'restart'; readonly timeoutSeconds: number; readonly isDestroyedAfter: boolean }
  | { readonly kind: 'pause' }
  | { readonly kind: 'unpause' }
  /** Cfg and guest get the files that they had before domherd wrote them. */
  | { readonly kind: 'restoreFiles' }
  /** Makes the VM, of another one on this host. */
  | ({ readonly kind: 'copy' } & CopyOrder)
  /** Makes the VM, of something that is no VM. */
  | ({ readonly kind: 'make' } & MakeSettings)
  /** Takes away a VM that was made so. */
  | { readonly kind: 'remove' }
  /** Its cfg, and what runs as far as it can. */
  | ({ readonly kind: 'set' } & SetOrder)
  /** Whether the host starts it when it boots. */
  | { readonly kind: 'setAutostart'; readonly isOn: boolean }
  /** Sends cfg and disks; `isMoved`: to be taken away here afterwards. */
  | ({ readonly kind: 'send'; readonly isMoved: boolean } & SendOrder)
  /** Makes the VM of what another host sends. */
  | ({ readonly kind: 'receive' } & ReceiveOrder)
  /** Takes away a VM that another host has now. */
  | { readonly kind: 'leave' }
  /** Gives it another name. */
  | ({ readonly kind: 'rename' } & RenameOrder)
  /** Tells what another host has to know before it goes there live. */
  | { readonly kind: 'offer'; readonly migrationId: string }
  /** Checks that, and lets it in. */
  | { readonly kind: 'admit'; readonly migrationId: string; readonly offer: LiveOffer }
  /** Sends it. */
  | {
      readonly kind: 'handOver';
      readonly migrationId: string;
      readonly offer: LiveOffer;
      readonly admission: LiveAdmission;
    }
  /** Tells whether it has come, and lets nothing in any more. */
  | { readonly kind: 'settleArrival'; readonly migrationId: string }
  /** Ends what is left of it where it was, its cfg included if it is the other host's now. */
  | { readonly kind: 'settleDeparture'; readonly migrationId: string; readonly isMoved: boolean }
  /** Tells what disks are kept in, whatever VM is named. */
  | { readonly kind: 'readStores' }
  /** Hands its console on, or its log. */
  | ({ readonly kind: 'openConsole' } & ConsoleOrder)
  /** Tells of its cfg, disks and console. */
  | { readonly kind: 'look' };

export interface SendOrder {
  readonly transferId: string;
  /** Its copy is given user data, which goes into a seed for cloud-init. */
  readonly needsSeed?: boolean;
}

export interface ReceiveOrder {
  readonly transferId: string;
  /** `undefined`: the VM itself, which stays what it was. */
  readonly copy: CopySettings | undefined;
  /** Of the VM itself: how its disks are kept; `undefined`: in files. */
  readonly storage?: Storage | undefined;
}

export interface RenameOrder {
  readonly name: string;
  /** Of its cfg from then on; in the same folder. */
  readonly cfgPath: string;
  /** What its guest's files are to say of itself. */
  readonly guest: GuestSettings;
}

/** What is not given stays as it is. */
export interface SetOrder {
  readonly memoryMib: number | undefined;
  readonly vcpus: number | undefined;
  readonly settings: readonly VmSetting[];
}

/** Those that only look: they wait for no other order of their VM. */
const LOOKING: ReadonlySet<OrderAction['kind']> = new Set<OrderAction['kind']>(['openConsole', 'look', 'readStores']);

export function isLook({ kind }: OrderAction): boolean {
  return LOOKING.has(kind);
}

export interface ConsoleOrder {
  /** Of the stream to open. */
  readonly consoleId: string;
  /** `undefined`: the console itself. */
  readonly log: { readonly lines: number; readonly isFollowed: boolean } | undefined;
}

export interface CopyOrder extends CopySettings {
  readonly sourceKey: string;
}

export interface Order {
  readonly orderId: string;
  readonly vmKey: string;
  /** Milliseconds from receipt; 1,000 to 7,200,000. */
  readonly timeoutMs: number;
  readonly action: OrderAction;
}

export interface OrderFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly details: ErrorDetails;
}

/** What an order came to; one repeated with its id is answered with the same, and with its VM as it is then. */
export interface OrderResult {
  readonly orderId: string;
  /** `undefined`: done. */
  readonly failure: OrderFailure | undefined;
  /** It was known before: the order came again, or it was told in a session that is over. */
  readonly isAgain?: boolean | undefined;
  /** As it is after the order; `undefined` if it is gone or cannot be looked at. */
  readonly vm: ObservedVm | undefined;
  /** For people: what is dangerous in this VM and was left as it is. */
  readonly warnings?: readonly string[];
  /** Of `readStores`; `undefined`: they cannot be read. */
  readonly stores?: readonly HostStore[] | undefined;
  /** Of an order to look. */
  readonly look?: VmLook | undefined;
  /** Of `offer`. */
  readonly offer?: LiveOffer | undefined;
  /** Of `admit`. */
  readonly admission?: LiveAdmission | undefined;
}

export interface OrderProgress {
  readonly orderId: string;
  readonly message: string;
  /** 0 to 100. */
  readonly percent: number | undefined;
}
