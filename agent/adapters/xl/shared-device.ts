import { createHash } from 'node:crypto';
import { readdir, readFile, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { SharedDisk } from '../../../shared/domain/live-migration.js';
import { AppError } from '../../../shared/errors.js';
import { outputOf, type Exec } from '../../../shared/exec.js';
import { BLOCK_BYTES, isTellingSerial, PIECE_BYTES, refuseLive } from '../../domain/live-move.js';

/** Of a busy array. */
const READ_MS = 30_000;
const SECTOR_BYTES = 512;

export const DIGEST_OF_ZEROS = digestOf(Buffer.alloc(BLOCK_BYTES));

/**
 * What a device of this host is, whatever host asks.
 *
 * @param path as in the cfg
 * @throws {AppError} `wrong_state`, with the hint of what goes without: no block device, or one that has no name of its own
 */
export async function identifyDevice(
  path: string,
  sys = '/sys',
): Promise<Pick<SharedDisk, 'path' | 'identity' | 'sizeBytes'>> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) throw refuseLive(`There is no ${path} on this host`);
  if (!found.isBlockDevice()) throw refuseLive(`${path} is no block device on this host`);
  // Linux's numbers: 12 bits of major, 20 of minor.
  const major = Math.floor(found.rdev / 256) % 4096;
  const minor = (found.rdev % 256) + Math.floor(found.rdev / 2 ** 20) * 256;
  const folder = await realpath(join(sys, 'dev/block', `${major}:${minor}`)).catch(() => '');
  const identity = folder === '' ? undefined : await identityOf(folder);
  if (identity === undefined) {
    throw refuseLive(`Nothing tells ${path} from the devices of other hosts: it is ${basename(folder) || 'unknown'}`);
  }
  const sectors = Number(await textOf(join(folder, 'size')));
  return { path, identity, sizeBytes: sectors * SECTOR_BYTES };
}

/** Past the page cache, which may be older than what another host wrote. @returns the digest of each block @throws {AppError} `unavailable` */
export async function readSamples(
  exec: Exec,
  { path, offsets }: Pick<SharedDisk, 'path' | 'offsets'>,
  signal: AbortSignal,
): Promise<readonly string[]> {
  const digests: string[] = [];
  for (const offset of offsets) {
    const piece = [`bs=${PIECE_BYTES}`, 'count=1', `skip=${offset / PIECE_BYTES}`] as const;
    const argv = ['dd', `if=${path}`, ...piece, 'iflag=direct', 'status=none'] as const;
    const result = await exec.run(argv, { timeoutMs: READ_MS, signal });
    signal.throwIfAborted();
    if (result.kind !== 'ok' || result.stdout.length !== PIECE_BYTES) {
      throw new AppError('unavailable', `${path} cannot be read`, { output: outputOf(result) });
    }
    for (let at = 0; at < PIECE_BYTES; at += BLOCK_BYTES) {
      digests.push(digestOf(result.stdout.subarray(at, at + BLOCK_BYTES)));
    }
  }
  return digests;
}

/** @param folder of the device below /sys/devices @returns `undefined`: another device may be called the same */
async function identityOf(folder: string): Promise<string | undefined> {
  if ((await textOf(join(folder, 'partition'))) !== undefined) {
    const [disk, start] = [await identityOf(dirname(folder)), await textOf(join(folder, 'start'))];
    return disk === undefined || start === undefined ? undefined : `${disk} from sector ${start}`;
  }
  const mapped = await textOf(join(folder, 'dm', 'uuid'));
  if (mapped !== undefined) return mappedIdentity(folder, mapped);
  const wwid = (await textOf(join(folder, 'wwid'))) || (await textOf(join(folder, 'device', 'wwid')));
  if (wwid) return ownWwid(wwid);
  const serial = (await textOf(join(folder, 'serial'))) || (await textOf(join(folder, 'device', 'serial')));
  return serial && isTellingSerial(serial) ? `serial.${serial}` : undefined;
}

/** Its own uuid is written on what is below it, and goes with each copy of that. */
async function mappedIdentity(folder: string, uuid: string): Promise<string | undefined> {
  const isVolume = /^LVM-\w{64}$/.test(uuid);
  if (!isVolume && !/^(part\d+-)?mpath-/.test(uuid)) return undefined;
  const below = await Promise.all(
    (await readdir(join(folder, 'slaves')).catch(() => [])).map(async (name) => {
      const one = await realpath(join(folder, 'slaves', name));
      // Thin volumes, snapshots and mirrors have volumes below them: one host at a time can have them.
      if ((await textOf(join(one, 'dm', 'uuid')))?.startsWith('LVM-')) return undefined;
      return identityOf(one);
    }),
  );
  if (below.length === 0 || below.includes(undefined)) return undefined;
  return [uuid, ...new Set(below)].sort().join(' on ');
}

/** "naa.5000c500a1b2c3d4", "eui.0025385971b00d12", or one that is made of a serial number. */
function ownWwid(wwid: string): string | undefined {
  if (!wwid.startsWith('t10.')) return wwid;
  const serial = wwid.split(/\s+/).at(-1) ?? '';
  return isTellingSerial(serial) && !serial.startsWith('drive-') ? wwid.replace(/\s+/g, ' ') : undefined;
}

function digestOf(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 32);
}

async function textOf(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').then(
    (text) => text.trim(),
    () => undefined,
  );
}
