import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';

export interface BackendCounters {
  /** As the guest sees it. */
  readonly rxBytes: number;
  readonly txBytes: number;
  readonly diskReadBytes: number;
  readonly diskWrittenBytes: number;
}

const NONE: BackendCounters = { rxBytes: 0, txBytes: 0, diskReadBytes: 0, diskWrittenBytes: 0 };
/** Of the block layer, whatever the disk. */
const SECTOR_BYTES = 512;

/**
 * Sums over the NICs and disks of each domain, from the backends in dom0's sysfs: nothing is forked.
 *
 * @param folder of the backends' devices, /sys/bus/xen-backend/devices
 * @returns by domid; one without a backend is not in it
 */
export async function readBackendCounters(folder: string): Promise<ReadonlyMap<number, BackendCounters>> {
  const devices = await readdir(folder).catch(() => []);
  const sums = new Map<number, BackendCounters>();
  await Promise.all(
    devices.map(async (device) => {
      const [, kind, domid] = /^(vif|vbd)-(\d+)-\d+$/.exec(device) ?? [];
      if (kind === undefined) return;
      const counters = await (kind === 'vif' ? readVif : readVbd)(join(folder, device));
      sums.set(Number(domid), add(sums.get(Number(domid)) ?? NONE, counters));
    }),
  );
  return sums;
}

// By the device, not by the interface's name, which `vifname=` may choose.
async function readVif(device: string): Promise<Partial<BackendCounters>> {
  const [name] = await readdir(join(device, 'net')).catch(() => []);
  if (name === undefined) return {};
  const folder = join(device, 'net', name, 'statistics');
  const [rx, tx] = await Promise.all([readCount(join(folder, 'rx_bytes')), readCount(join(folder, 'tx_bytes'))]);
  return { rxBytes: tx, txBytes: rx };
}

async function readVbd(device: string): Promise<Partial<BackendCounters>> {
  const folder = join(device, 'statistics');
  const [read, written] = await Promise.all([readCount(join(folder, 'rd_sect')), readCount(join(folder, 'wr_sect'))]);
  return { diskReadBytes: read * SECTOR_BYTES, diskWrittenBytes: written * SECTOR_BYTES };
}

/** 0 for one that is gone, or is no number: devices come and go while they are read. */
async function readCount(path: string): Promise<number> {
  const text = await readFile(path, 'latin1').catch(() => '');
  return /^\d+\s*$/.test(text) ? Number(text) : 0;
}

function add(sum: BackendCounters, more: Partial<BackendCounters>): BackendCounters {
  return {
    rxBytes: sum.rxBytes + (more.rxBytes ?? 0),
    txBytes: sum.txBytes + (more.txBytes ?? 0),
    diskReadBytes: sum.diskReadBytes + (more.diskReadBytes ?? 0),
    diskWrittenBytes: sum.diskWrittenBytes + (more.diskWrittenBytes ?? 0),
  };
}
