import { wrongState } from '../../shared/errors.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import { chooseStorage, type StorageFacts } from './storage-choice.js';
import type { ObservedVm } from './vm.js';
import type { VmPlan } from './vm-plan.js';
import { listDisks, setDisk, type Disk } from './xl-cfg/disk.js';
import { setNumber, setString } from './xl-cfg/edit.js';
import type { XlCfg } from './xl-cfg/syntax.js';
import { listVifs, removeVifParameter } from './xl-cfg/vif.js';
import { getNumber, getString } from './xl-cfg/xl-cfg.js';

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
  const copies = disksToCopy(source, cfg).map((disk, n) => {
    const sizeBytes = n === 0 && shape.diskMib !== undefined ? shape.diskMib * MIB : undefined;
    const copy = { disk, fromVm: source.name, toVm: name, isGrown: sizeBytes !== undefined };
    return { disk, sizeBytes, ...chooseStorage(copy, shape.storage, facts) };
  });
  const withDisks = copies.reduce((edited, { disk, place, format }) => setDisk(edited, disk, place.path, format), cfg);
  return {
    name,
    cfg: withIdentity(withoutMacs(withDisks), settings),
    disks: copies.map(({ disk, place, sizeBytes, reason }) => ({
      ...{
        source: { kind: 'copy', path: disk.target, format: disk.format === 'qcow2' ? 'qcow2' : 'raw' },
        place,
        reason,
      },
      ...(sizeBytes !== undefined && { sizeBytes }),
    })),
    isRenewed: true,
    authorizedKeys: settings.shape.authorizedKeys,
  };
}

function withoutMacs(cfg: XlCfg): XlCfg {
  return listVifs(cfg).reduce(
    (edited, { index }) => removeVifParameter(removeVifParameter(edited, index, 'mac'), index, 'ip'),
    cfg,
  );
}

function withIdentity(cfg: XlCfg, { name, uuid, shape }: CopySettings): XlCfg {
  const named = setString(cfg, 'name', name);
  const unique = getString(named, 'uuid') === undefined ? named : setString(named, 'uuid', uuid);
  return withSize(withSize(unique, 'memory', 'maxmem', shape.memoryMib), 'vcpus', 'maxvcpus', shape.vcpus);
}

/** xl refuses more than the most that the cfg allows. */
function withSize(cfg: XlCfg, key: string, maxKey: string, size: number | undefined): XlCfg {
  if (size === undefined) return cfg;
  const max = getNumber(cfg, maxKey);
  const sized = setNumber(cfg, key, size);
  return max !== undefined && max < size ? setNumber(sized, maxKey, size) : sized;
}
