import { invalid, wrongState } from '../../shared/errors.js';
import type { VmShape } from '../../shared/domain/vm-shape.js';
import type { ObservedVm } from './vm.js';
import type { VmPlan } from './vm-plan.js';
import { listDisks, setDiskTarget, type Disk } from './xl-cfg/disk.js';
import { setNumber, setString } from './xl-cfg/edit.js';
import type { XlCfg } from './xl-cfg/syntax.js';
import { listVifs, removeVifParameter } from './xl-cfg/vif.js';
import { getNumber, getString } from './xl-cfg/xl-cfg.js';

/** What a copy is to be. */
export interface CopySettings {
  readonly name: string;
  /** Written where the source's cfg has one: two domains cannot share it. */
  readonly uuid: string;
  readonly shape: VmShape;
}

/**
 * A copy of a stopped VM on its host: the cfg with another name, disks of its own and no MAC, for the lease to bring. Disks
 * that are only read are shared.
 *
 * @throws {AppError} `wrong_state` if the source is not stopped; `invalid` for a disk that is no raw image file
 */
export function planCopy(source: ObservedVm, cfg: XlCfg, settings: CopySettings): VmPlan {
  if (source.state !== 'stopped') {
    throw wrongState(`${source.name} is ${source.state}: it is copied while it is stopped`, {
      state: source.state,
      hint: `domherd vm shutdown ${source.name}`,
    });
  }
  const disks = listDisks(cfg).filter(({ access, isCdrom }) => access === 'w' && !isCdrom);
  const copies = disks.map((disk) => ({ disk, to: pathFor(disk, source.name, settings.name) }));
  const withDisks = copies.reduce((edited, { disk, to }) => setDiskTarget(edited, disk.index, to), cfg);
  return {
    name: settings.name,
    cfg: withIdentity(withoutMacs(withDisks), settings),
    disks: copies.map(({ disk, to }) => ({
      source: { kind: 'copy', path: disk.target },
      place: { path: to, storage: 'copy' },
    })),
    isRenewed: true,
    authorizedKeys: settings.shape.authorizedKeys,
  };
}

/** `/srv/domU/disk.img` becomes `/srv/web-1/disk.img`, `/srv/domU.img` `/srv/web-1.img`, others `/srv/web-1-disk.img`. */
function pathFor(disk: Disk, from: string, to: string): string {
  const { target, vdev } = disk;
  const hint = 'copies are made of raw image files: give the VM one';
  if (disk.script !== undefined || disk.format !== 'raw') {
    throw invalid(`The disk ${vdev} is no raw image: ${disk.script ?? disk.format}`, { disk: target, hint });
  }
  if (!target.startsWith('/') || target.startsWith('/dev/')) {
    throw invalid(`The disk ${vdev} is ${target}, not an image file`, { disk: target, hint });
  }
  const parts = target.split('/');
  const file = parts.pop() ?? '';
  if (parts.at(-1) === from) return [...parts.slice(0, -1), to, file].join('/');
  return [...parts, file.includes(from) ? file.replace(from, to) : `${to}-${file}`].join('/');
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
