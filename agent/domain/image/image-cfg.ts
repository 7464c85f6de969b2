import { encodeString } from '../xl-cfg/string-literal.js';
import type { XlCfg } from '../xl-cfg/syntax.js';
import { parseXlCfg } from '../xl-cfg/xl-cfg.js';
import type { Boot } from './boot-choice.js';
import { bootKeys } from './boot-keys.js';
import type { ImageContent } from '../../../shared/domain/image-format.js';

export interface CfgDisk {
  /** `xvda2`. */
  readonly vdev: string;
  /** An absolute path. */
  readonly target: string;
}

export interface NewCfg {
  readonly name: string;
  readonly uuid: string;
  readonly memoryMib: number;
  readonly vcpus: number;
  readonly boot: Boot;
  /** Of the kernel, where there is no bootloader: `/dev/xvda2`. */
  readonly rootDevice: string;
  readonly disks: readonly CfgDisk[];
  /** One a NIC; `undefined`: the host's default, written when the VM is addressed. */
  readonly bridges: readonly (string | undefined)[];
}

/** What the root is to the guest: as in the tutorial's domU where it is one file system, with swap before it. */
export function rootVdev(content: ImageContent): string {
  return content.kind === 'disk' ? 'xvda' : 'xvda2';
}

/** Where a kernel finds the root, unless its command line says so. */
export function rootDevice(content: ImageContent): string {
  return content.kind === 'disk' ? '/dev/xvda1' : '/dev/xvda2';
}

/**
 * The cfg of a VM that is a copy of no other. PV: what Xen runs on every machine, and what the kernels of Debian's images and
 * both bootloaders are made for.
 *
 * @throws {AppError} `invalid` for what cannot be written
 */
export function makeCfg(vm: NewCfg): XlCfg {
  const lines = [
    '# Made by domherd; yours to edit.',
    assign('name', text(vm.name)),
    assign('uuid', text(vm.uuid)),
    assign('type', text('pv')),
    assign('memory', `${vm.memoryMib}`),
    assign('vcpus', `${vm.vcpus}`),
    ...bootKeys(vm.boot, `${vm.rootDevice} ro`).map(([key, value]) => assign(key, text(value))),
    ...list('disk', vm.disks.map(diskSpec)),
    ...list('vif', vm.bridges.map(vifSpec)),
    assign('on_poweroff', text('destroy')),
    assign('on_reboot', text('restart')),
    assign('on_crash', text('restart')),
  ];
  return parseXlCfg(`${lines.join('\n')}\n`);
}

function diskSpec({ vdev, target }: CfgDisk): string {
  return `format=raw, vdev=${vdev}, access=rw, target=${target}`;
}

function vifSpec(bridge: string | undefined): string {
  return bridge === undefined ? '' : `bridge=${bridge}`;
}

function list(key: string, items: readonly string[]): readonly string[] {
  return [`${key.padEnd(WIDTH)} = [`, ...items.map((item) => `    ${text(item)},`), ']'];
}

const WIDTH = 'on_poweroff'.length;

function assign(key: string, value: string): string {
  return `${key.padEnd(WIDTH)} = ${value}`;
}

function text(value: string): string {
  return encodeString(value, "'");
}
