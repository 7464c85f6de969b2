// Whether a VM can go to another host while it runs.
//
// Invariants:
// - A device is the same on both hosts if the kernel knows it there by the same name that is no other device's, and the same
//   bytes are read there. Neither is enough: serial numbers are alike on machines that were made alike, and so are the bytes
//   of copies.
// - What the guest writes between two looks proves nothing: only blocks that were the same before and after count.
import type { LiveOffer, SharedDisk } from '../../shared/domain/live-migration.js';
import { AppError, wrongState } from '../../shared/errors.js';
import type { ObservedVm } from './vm.js';
import { listDisks } from './xl-cfg/disk.js';
import { getString } from './xl-cfg/xl-cfg.js';
import type { XlCfg } from './xl-cfg/syntax.js';

export const PIECE_BYTES = 64 * 1024;
export const BLOCK_BYTES = 4096;
/** The first piece has the partition table, or the superblock and when it was mounted; the last has metadata of RAID and GPT. */
const RANDOM_PIECES = 22;
const MIN_DEVICE_BYTES = 1024 * 1024;
/** Of the hypervisor's own for a domain, besides what the guest gets. */
const OVERHEAD_MIB = 16;

export const COLD = '--cold shuts it down, copies its disks and starts it there';

/** Names of the domain while it is neither host's. */
export function awayNameOf(name: string): string {
  return `${name}--migratedaway`;
}

export function incomingNameOf(name: string): string {
  return `${name}--incoming`;
}

/** What is to go. */
export interface LiveGuest {
  /** Paths of its disks in dom0. */
  readonly disks: readonly string[];
  readonly isPv: boolean;
}

/** @throws {AppError} `wrong_state` for a VM that cannot go live, whatever host it goes to */
export function planOffer(vm: ObservedVm, cfg: XlCfg): LiveGuest {
  if (vm.state !== 'running' || vm.problem !== undefined) {
    throw refuseLive(`${vm.name} cannot go live: ${vm.problem ?? `it is ${vm.state}`}`);
  }
  const disks = listDisks(cfg).map(({ target, vdev, format, script }) => {
    if (format === 'raw' && script === undefined && target.startsWith('/')) return target;
    throw refuseLive(`${vm.name} cannot go live: its disk ${vdev} is no device that another host could see`);
  });
  return { disks, isPv: isPv(cfg) };
}

/** xl.cfg(5): PV unless it says otherwise, by `type`, or by `builder` as it was called before. */
function isPv(cfg: XlCfg): boolean {
  const type = getString(cfg, 'type') ?? getString(cfg, 'builder');
  return type !== 'hvm' && type !== 'pvh';
}

/**
 * A running domain goes while it writes: Xen follows PV domains by shadow paging, others by the processor.
 *
 * @throws {AppError} `wrong_state`
 */
export function checkFollowed(hasShadowPaging: boolean, { isPv }: LiveGuest): void {
  if (hasShadowPaging || !isPv) return;
  throw refuseLive(
    'the Xen of its host moves no running PV domain: it is built without shadow paging (xl info: virt_caps)',
  );
}

/** @param random 0 (included) to 1 (excluded) @throws {AppError} `wrong_state` */
export function planSamples(
  { path, sizeBytes }: Pick<SharedDisk, 'path' | 'sizeBytes'>,
  random: () => number,
): readonly number[] {
  if (sizeBytes < MIN_DEVICE_BYTES) throw refuseLive(`${path} is too small to be told from other devices`);
  const pieces = Math.floor(sizeBytes / PIECE_BYTES);
  const chosen = Array.from({ length: RANDOM_PIECES }, () => Math.floor(random() * pieces));
  return [...new Set([0, pieces - 1, ...chosen])].sort((a, b) => a - b).map((piece) => piece * PIECE_BYTES);
}

/** @throws {AppError} `wrong_state` unless the device that is called so here is the one of the offer, as far as names tell */
export function checkIdentity(
  { path, identity, sizeBytes }: SharedDisk,
  here: Pick<SharedDisk, 'identity' | 'sizeBytes'>,
): void {
  if (here.identity !== identity) {
    throw refuseLive(`${path} is another device on the other host: ${here.identity} instead of ${identity}`);
  }
  if (here.sizeBytes === sizeBytes) return;
  throw refuseLive(`${path} has ${here.sizeBytes} bytes on the other host, and ${sizeBytes} here`);
}

/**
 * @param offered as it was read here first
 * @param there as it was read on the other host then
 * @param again as it was read here after that
 * @param ofZeros the digest of a block of zeros, which every new disk has
 * @throws {AppError} `wrong_state` unless that proves that the bytes are the same
 */
export function checkSamples(
  offered: Pick<SharedDisk, 'path' | 'digests'>,
  there: readonly string[],
  again: readonly string[],
  ofZeros: string,
): void {
  const { path, digests } = offered;
  if (digests.length === 0 || there.length !== digests.length || again.length !== digests.length) {
    throw refuseLive(`${path} was not read alike on both hosts`);
  }
  const steady = digests.flatMap((digest, n) => (digest === again[n] ? [n] : []));
  if (steady.some((n) => there[n] !== digests[n])) {
    throw refuseLive(`${path} is another device on the other host: the same name, other bytes`);
  }
  const isTelling = steady.some((n) => digests[n] !== ofZeros);
  if (isTelling && steady.length * 2 >= digests.length) return;
  const why = isTelling ? 'the guest writes too much of it' : 'it is empty';
  throw refuseLive(`${path} cannot be shown to be the same device on the other host: ${why}`);
}

/** @throws {AppError} `wrong_state` if what runs on the one Xen may not run on the other */
export function checkXen(from: string, to: string): void {
  const [before, after] = [from, to].map((version) => /^(\d+)\.(\d+)/.exec(version)?.slice(1).map(Number));
  const [major = -1, minor = -1] = before ?? [];
  const [majorTo = -1, minorTo = -1] = after ?? [];
  const isKnown = before !== undefined && after !== undefined;
  if (isKnown && (majorTo > major || (majorTo === major && minorTo >= minor))) return;
  throw refuseLive(`Xen ${to || '(unknown)'} of the other host takes no domain of Xen ${from || '(unknown)'}`);
}

/** @throws {AppError} `exhausted` */
export function checkMemory({ name, memoryMib }: LiveOffer, freeMib: number): void {
  const neededMib = memoryMib + OVERHEAD_MIB;
  if (freeMib >= neededMib) return;
  throw new AppError(
    'exhausted',
    `There is not the memory for ${name}: it needs ${neededMib} MiB, ${freeMib} are free`,
    {
      needed: String(neededMib),
      free: String(freeMib),
      hint: 'shut VMs down there, or take another host: domherd host list',
    },
  );
}

/**
 * Whether a serial number can be no other device's: those that QEMU makes up, and what people call disks, are on many
 * machines.
 */
export function isTellingSerial(serial: string): boolean {
  return serial.length >= 12 && !/QM0\d{4}/.test(serial) && new Set(serial).size >= 6;
}

export function refuseLive(message: string): AppError {
  return wrongState(message, { hint: COLD });
}
