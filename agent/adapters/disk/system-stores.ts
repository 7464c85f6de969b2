import { readFile, statfs } from 'node:fs/promises';
import type { Exec } from '../../../shared/exec.js';
import type { HostStore, StoredVmDisk } from '../../../shared/domain/host-store.js';
import { mountOf, parseMountinfo, recordingOf, stepDown, stepUp, storeNameOf } from '../../domain/host-store.js';
import type { DiskSize } from '../../domain/new-disk.js';
import type { DiskOfVm, HostStores } from '../../ports/host-stores.js';
import { fileError } from './atomic-file.js';
import { canReflink, FileDiskStore } from './file-disk-store.js';
import type { Volume, VolumeGroup } from './lvm-report.js';

export interface SystemStoresOptions {
  readonly exec: Exec;
  /** `/proc/self/mountinfo` unless told. */
  readonly mountinfoPath?: string | undefined;
}

interface Lvm {
  readonly groups: readonly VolumeGroup[];
  readonly volumes: readonly Volume[];
}

interface Found extends DiskOfVm {
  readonly store: string;
  readonly size: DiskSize | undefined;
}

const NO_LVM: Lvm = { groups: [], volumes: [] };

/** Mounts and their room by the kernel, volumes by LVM's own programs. */
export class SystemStores implements HostStores {
  readonly #exec: Exec;
  readonly #mountinfoPath: string;
  readonly #files: FileDiskStore;
  #lvm: Lvm | undefined;
  /** By mount point: it is found out by a try. */
  readonly #reflinks = new Map<string, boolean>();

  constructor({ exec, mountinfoPath = '/proc/self/mountinfo' }: SystemStoresOptions) {
    this.#exec = exec;
    this.#mountinfoPath = mountinfoPath;
    this.#files = new FileDiskStore(exec);
  }

  async readStores(disks: readonly DiskOfVm[], isFresh: boolean): Promise<readonly HostStore[]> {
    if (isFresh || this.#lvm === undefined) this.#lvm = await this.#readLvm();
    const lvm = this.#lvm;
    const mounts = parseMountinfo(await readFile(this.#mountinfoPath, 'utf8').catch(unreadable(this.#mountinfoPath)));
    const typeOf = (path: string): string => mountOf(path, mounts)?.type ?? '';
    const found = await Promise.all(
      disks.map((disk) => this.#find(disk, lvm, (path) => mountOf(path, mounts)?.path ?? '/')),
    );
    const ofFiles = found.filter(({ path }) => !path.startsWith('/dev/')).map(({ store }) => store);
    const names = new Set(['/', ...mounts.map(({ path }) => path).filter((path) => path === '/tmp'), ...ofFiles]);
    const fileSystems = await Promise.all([...names].sort().map((name) => this.#fileSystem(name, typeOf(name), found)));
    return [...fileSystems, ...volumeStores(lvm, found)];
  }

  async #readLvm(): Promise<Lvm> {
    const { LvmCommand } = await import('./lvm-command.js');
    const command = new LvmCommand(this.#exec);
    const groups = await command.groups();
    return groups.length === 0 ? NO_LVM : { groups, volumes: await command.volumes() };
  }

  async #find(disk: DiskOfVm, { volumes }: Lvm, mountPointOf: (path: string) => string): Promise<Found> {
    const { path, format } = disk;
    if (path.startsWith('/dev/')) {
      const volume = volumes.find(({ paths }) => paths.includes(path));
      const sizeBytes = volume?.sizeBytes ?? 0;
      const percent = volume?.pool === undefined ? 100 : (volume.dataPercent ?? 0);
      const usedBytes = Math.ceil(((volume?.changeBytes ?? sizeBytes) * percent) / 100);
      const store = volume === undefined ? '' : storeOfVolume(volume);
      return { ...disk, store, size: volume && { sizeBytes, usedBytes } };
    }
    // A disk that is missing or no image is no reason to tell nothing of the others.
    const size = await this.#files.find(path, format).catch(() => undefined);
    return { ...disk, store: storeNameOf(path, mountPointOf(path)), size };
  }

  async #fileSystem(name: string, type: string, found: readonly Found[]): Promise<HostStore> {
    const { blocks, bavail, bsize } = await statfs(name).catch(unreadable(name));
    const own = found.filter(({ store }) => store === name);
    return {
      ...{ kind: 'file-system', name, type, sizeBytes: blocks * bsize, freeBytes: stepDown(bavail * bsize) },
      metadataPercent: undefined,
      sharesBlocks: await this.#sharesBlocks(name, own.find(({ size }) => size !== undefined)?.path),
      ...recordingOf('file-system', name),
      disks: disksIn(own),
    };
  }

  /** Where there is no disk nobody copies one. */
  async #sharesBlocks(name: string, path: string | undefined): Promise<boolean> {
    if (path === undefined) return false;
    const known = this.#reflinks.get(name);
    if (known !== undefined) return known;
    const can = await canReflink(path).catch(() => false);
    this.#reflinks.set(name, can);
    return can;
  }
}

function volumeStores({ groups, volumes }: Lvm, found: readonly Found[]): readonly HostStore[] {
  const disksOf = (name: string): readonly StoredVmDisk[] => disksIn(found.filter(({ store }) => store === name));
  const ofGroups = groups.map(({ name, sizeBytes, freeBytes }): HostStore => ({
    ...{ kind: 'volume-group', name, type: 'lvm', sizeBytes, freeBytes, metadataPercent: undefined },
    ...{ sharesBlocks: false, ...recordingOf('volume-group', name), disks: disksOf(name) },
  }));
  const pools = volumes.filter(({ type }) => type === 'thin-pool');
  const ofPools = pools.map(({ group, name, sizeBytes, dataPercent = 0, metadataPercent }): HostStore => {
    const full = `${group}/${name}`;
    const freeBytes = stepDown((sizeBytes * (100 - dataPercent)) / 100);
    return {
      ...{ kind: 'thin-pool', name: full, type: 'lvm', sizeBytes, freeBytes, metadataPercent },
      ...{ sharesBlocks: true, ...recordingOf('thin-pool', full), disks: disksOf(full) },
    };
  });
  return [...ofGroups, ...ofPools];
}

function storeOfVolume({ group, pool }: Volume): string {
  return pool === undefined ? group : `${group}/${pool}`;
}

function disksIn(found: readonly Found[]): readonly StoredVmDisk[] {
  return found.flatMap(({ vmKey, path, size }) =>
    size === undefined ? [] : [{ vmKey, path, sizeBytes: size.sizeBytes, usedBytes: stepUp(size.usedBytes) }],
  );
}

function unreadable(path: string): (error: unknown) => never {
  return (error) => {
    throw fileError(path, error);
  };
}
