import { readFileSync, statfsSync, statSync } from 'node:fs';

/** `f_type` of statfs(2), NFS_SUPER_MAGIC; versions 3 and 4 have the same. */
const NFS_MAGIC = 0x6969;

/** The file system that a folder is on. */
export interface Mount {
  /** `f_type` of statfs(2). */
  readonly type: number;
  /** Its super options, as in "rw,vers=4.2,local_lock=none"; empty if they are unknown. */
  readonly options: string;
}

/** @param path is there */
export function readMount(path: string): Mount {
  return { type: statfsSync(path).type, options: superOptions(readMountInfo(), statSync(path).dev) };
}

/** How a folder lies on NFS. `unlocked`: the locks of this mount are known to this machine only (nfs(5)). */
export function nfsKindOf({ type, options }: Mount): 'none' | 'locked' | 'unlocked' {
  if (type !== NFS_MAGIC) return 'none';
  // `nolock` also shows as local_lock=all; `flock` is about flock(2), which SQLite does not use.
  return /(^|,)(nolock|local_lock=(all|posix))(,|$)/.test(options) ? 'unlocked' : 'locked';
}

/**
 * @param mountInfo text of /proc/self/mountinfo: "36 35 98:0 /root /mnt rw,noatime - ext3 /dev/sda1 rw" (proc(5))
 * @param dev `st_dev`
 */
export function superOptions(mountInfo: string, dev: number): string {
  // The encoding of makedev(3), as far as Linux uses it: 12 bits of major, 20 of minor.
  const major = (dev >>> 8) & 0xfff;
  const minor = (dev & 0xff) | ((dev >>> 12) & 0xfff00);
  const id = `${String(major)}:${String(minor)}`;
  const line = mountInfo.split('\n').find((one) => one.split(' ')[2] === id);
  return line?.split(' - ')[1]?.split(' ').at(-1) ?? '';
}

/** Empty where there is no /proc. */
function readMountInfo(): string {
  try {
    return readFileSync('/proc/self/mountinfo', 'utf8');
  } catch {
    return '';
  }
}
