import { invalid } from '../../../shared/errors.js';
import { listDisks } from '../xl-cfg/disk.js';
import { removeKey, setString } from '../xl-cfg/edit.js';
import type { XlCfg } from '../xl-cfg/syntax.js';
import { getString } from '../xl-cfg/xl-cfg.js';
import { isGrub, type Boot } from './boot-choice.js';

/** All that tells how a domain boots, xl.cfg(5). */
const KEYS = ['kernel', 'ramdisk', 'root', 'extra', 'cmdline', 'bootloader', 'bootloader_args'];

type Key = readonly [key: string, value: string];

/**
 * What a cfg says of how its domain boots.
 *
 * @param root such as "/dev/xvda2 ro": where a kernel finds it, unless its command line says so; `undefined`: nowhere
 */
export function bootKeys(boot: Boot, root: string | undefined): readonly Key[] {
  switch (boot.kind) {
    case 'pygrub':
      return [['bootloader', 'pygrub']];
    case 'pvgrub':
      return [['kernel', boot.kernel]];
    case 'direct': {
      const { kernel, ramdisk, cmdline } = boot;
      const isRooted = rootIn(cmdline) !== undefined;
      return [
        ['kernel', kernel],
        ...(ramdisk === undefined ? [] : [['ramdisk', ramdisk] as const]),
        ...(isRooted || root === undefined ? [] : [['root', root] as const]),
        ...(cmdline === undefined ? [] : [['extra', cmdline] as const]),
      ];
    }
  }
}

/**
 * The cfg with its domain booted so, and no other way. A kernel without a command line of its own is told what the cfg tells
 * its kernel, and finds the root where that found it; where there was a bootloader, on the first disk.
 *
 * @throws {AppError} `invalid` for a bootloader that cannot boot such a domain, or a value that cannot be written
 */
export function withBoot(cfg: XlCfg, boot: Boot): XlCfg {
  refuseType(cfg, boot);
  const told = lineOf(cfg);
  const asked = boot.kind === 'direct' ? { ...boot, cmdline: boot.cmdline ?? told } : boot;
  const wanted = new Map(bootKeys(asked, rootOf(cfg, told)));
  const without = KEYS.filter((key) => !wanted.has(key)).reduce(removeKey, cfg);
  return [...wanted].reduce((edited, [key, value]) => setString(edited, key, value), without);
}

function refuseType(cfg: XlCfg, { kind }: Boot): void {
  const type = getString(cfg, 'type') ?? (getString(cfg, 'builder') === 'hvm' ? 'hvm' : 'pv');
  const isBootable = kind === 'direct' || type === 'pv' || (kind === 'pygrub' && type === 'pvh');
  if (isBootable) return;
  throw invalid(`${kind} cannot boot a domain of type ${type}, as the source is`, {
    hint: type === 'pvh' ? '--bootloader pygrub, or --kernel' : '--kernel, or leave --bootloader out',
  });
}

/** What the kernel is told besides its root; a bootloader that is built as one is told something else. */
function lineOf(cfg: XlCfg): string | undefined {
  return hasGrub(cfg) ? undefined : (getString(cfg, 'cmdline') ?? getString(cfg, 'extra'));
}

function rootOf(cfg: XlCfg, line: string | undefined): string | undefined {
  const device = rootIn(line);
  if (device !== undefined) return `${device} ro`;
  // xl does not heed it beside a cmdline.
  const isHeeded = !hasGrub(cfg) && getString(cfg, 'cmdline') === undefined;
  return (isHeeded ? getString(cfg, 'root') : undefined) ?? firstRoot(cfg);
}

/** Where a bootloader looks for it, and as {@link rootDevice} has it. */
function firstRoot(cfg: XlCfg): string | undefined {
  const first = listDisks(cfg).find(({ isCdrom }) => !isCdrom);
  return first && `/dev/${first.vdev}${/\d$/.test(first.vdev) ? '' : '1'} ro`;
}

/** `/dev/xvda2` of `quiet root=/dev/xvda2`: the kernel heeds the last one. */
function rootIn(line: string | undefined): string | undefined {
  return [...(line ?? '').matchAll(/(?:^|\s)root=(\S+)/g)].at(-1)?.[1];
}

function hasGrub(cfg: XlCfg): boolean {
  return isGrub(getString(cfg, 'kernel') ?? '');
}
