import { invalid, wrongState } from '../../shared/errors.js';
import { MAX_VIFS, type VmShape } from '../../shared/domain/vm-shape.js';
import type { DiskFormat, NewDisk } from './new-disk.js';
import { chooseStorage, ownPlace, placeBeside, type StorageFacts } from './storage-choice.js';
import { SEED_VDEV } from './seed/seed-files.js';
import { withSize } from './set-plan.js';
import type { ObservedVm } from './vm.js';
import type { VmPlan } from './vm-plan.js';
import { addDisk, freeVdevs, listDisks, setDisk, type Disk } from './xl-cfg/disk.js';
import { setString } from './xl-cfg/edit.js';
import type { XlCfg } from './xl-cfg/syntax.js';
import { addVif, listVifs, removeVifParameter } from './xl-cfg/vif.js';
import { getString } from './xl-cfg/xl-cfg.js';

const MIB = 1024 * 1024;

/** What a copy is to be. */
export interface CopySettings {
  readonly name: string;
  /** Written where the source's cfg has one: two domains cannot share it. */
  readonly uuid: string;
  readonly shape: VmShape;
}

/**
 * The disks that a copy of that VM gets copies of. Those that are only read are shared.
 *
 * @throws {AppError} `wrong_state` if it is not stopped
 */
export function disksToCopy(source: ObservedVm, cfg: XlCfg): readonly Disk[] {
  if (source.state !== 'stopped') {
    throw wrongState(`${source.name} is ${source.state}: it is copied while it is stopped`, {
      state: source.state,
      hint: `domherd vm shutdown ${source.name}`,
    });
  }
  return listDisks(cfg).filter(({ access, isCdrom }) => access === 'w' && !isCdrom);
}

/**
 * A copy of a stopped VM on its host: the cfg with another name, disks of its own and no MAC, for the lease to bring.
 *
 * @throws {AppError} as {@link disksToCopy} and {@link chooseStorage}
 */
export function planCopy(source: ObservedVm, cfg: XlCfg, settings: CopySettings, facts: StorageFacts): VmPlan {
  const { name, shape } = settings;
  const copies = copiesOf(source, cfg, settings, facts);
  const withDisks = copies.reduce((edited, { disk, place, format }) => setDisk(edited, disk, place.path, format), cfg);
  const added = addedDisks(withDisks, copies, settings);
  const withAll = added.reduce((edited, { vdev, place }) => addDisk(edited, vdev, place.path), withDisks);
  return {
    name,
    cfg: withIdentity(withVifs(withoutMacs(withAll), shape), settings),
    disks: [...copies, ...added].map(({ source: from, place, sizeBytes, reason }) => ({
      ...{ source: from, place },
      ...(reason !== undefined && { reason }),
      ...(sizeBytes !== undefined && { sizeBytes }),
    })),
    isRenewed: true,
    authorizedKeys: shape.authorizedKeys,
    userData: shape.userData,
  };
}

interface DiskCopy extends NewDisk {
  readonly disk: Disk;
  readonly format: DiskFormat;
}

/** Swap space is not copied where it is to have another size. */
function copiesOf(
  source: ObservedVm,
  cfg: XlCfg,
  { name, shape }: CopySettings,
  facts: StorageFacts,
): readonly DiskCopy[] {
  const disks = disksToCopy(source, cfg);
  const swap = shape.swapMib === undefined ? undefined : disks.find(({ target }) => facts.swaps.has(target));
  const grown = disks.find(({ target }) => !facts.swaps.has(target));
  return disks.map((disk): DiskCopy => {
    const sizeBytes = disk === grown && shape.diskMib !== undefined ? shape.diskMib * MIB : undefined;
    const copy = { disk, fromVm: source.name, toVm: name, isGrown: sizeBytes !== undefined };
    // It is written anew for each VM.
    const storage = disk.vdev === SEED_VDEV ? 'copy' : shape.storage;
    const { place, format, reason } = chooseStorage(copy, storage, facts);
    if (disk === swap) {
      return {
        disk,
        format: 'raw',
        source: { kind: 'swap', bytes: (shape.swapMib ?? 0) * MIB },
        place: ownPlace(place),
      };
    }
    const from = { kind: 'copy', path: disk.target, format: disk.format === 'qcow2' ? 'qcow2' : 'raw' } as const;
    return { disk, format, source: from, place, reason, sizeBytes };
  });
}

/** What the source has not: swap space, further disks. */
function addedDisks(
  cfg: XlCfg,
  copies: readonly DiskCopy[],
  { name, shape }: CopySettings,
): readonly (NewDisk & { readonly vdev: string })[] {
  const hasSwap = copies.some(({ source }) => source.kind === 'swap');
  const swap =
    shape.swapMib === undefined || hasSwap ? [] : [{ what: 'swap', mib: shape.swapMib, kind: 'swap' } as const];
  const data = (shape.extraDisksMib ?? []).map((mib, n) => ({ what: `data-${n + 1}`, mib, kind: 'blank' }) as const);
  const wanted = [...swap, ...data];
  if (wanted.length === 0) return [];
  const [first] = copies;
  if (first === undefined)
    throw invalid(`${name} gets no further disks: its source has none that they could be beside`);
  const vdevs = freeVdevs(cfg, wanted.length);
  return wanted.map(({ what, mib, kind }, n) => ({
    vdev: vdevs[n] ?? '',
    source: { kind, bytes: mib * MIB },
    place: placeBeside(first.place, name, what),
  }));
}

function withoutMacs(cfg: XlCfg): XlCfg {
  return listVifs(cfg).reduce(
    (edited, { index }) => removeVifParameter(removeVifParameter(edited, index, 'mac'), index, 'ip'),
    cfg,
  );
}

/** @throws {AppError} `invalid` if there would be more than {@link MAX_VIFS} */
function withVifs(cfg: XlCfg, { extraVifs = [] }: VmShape): XlCfg {
  const count = listVifs(cfg).length + extraVifs.length;
  if (extraVifs.length > 0 && count > MAX_VIFS) throw invalid(`${count} NICs are more than the most, ${MAX_VIFS}`);
  return extraVifs.reduce(addVif, cfg);
}

function withIdentity(cfg: XlCfg, { name, uuid, shape }: CopySettings): XlCfg {
  const named = setString(cfg, 'name', name);
  const unique = getString(named, 'uuid') === undefined ? named : setString(named, 'uuid', uuid);
  return withSize(withSize(unique, 'memory', 'maxmem', shape.memoryMib), 'vcpus', 'maxvcpus', shape.vcpus);
}
