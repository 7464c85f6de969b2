import { readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/** Who uses a disk of dom0. */
export interface DiskUse {
  /**
   * Looks at everything: loop devices, Xen's backends, holders (dm, md), mounts, open files; of a whole disk also at its
   * partitions, of a partition also at its disk.
   *
   * @param path of a file or block device
   * @returns for people, such as "/dev/loop3" or "process 812 (qemu)"; `undefined` if nobody does
   */
  userOf(path: string): Promise<string | undefined>;

  /** As {@link userOf}, for what a running guest makes: loop devices and backends. Cheap. */
  attachmentOf(path: string): Promise<string | undefined>;
}

interface DiskId {
  readonly path: string;
  readonly isDevice: boolean;
  readonly dev: number;
  readonly ino: number;
  /** Of the device itself: "7:0". */
  readonly rdev: string;
}

/** What the kernel tells below /sys and /proc. */
export class KernelDiskUse implements DiskUse {
  readonly #sys: string;
  readonly #proc: string;

  constructor(sys = '/sys', proc = '/proc') {
    this.#sys = sys;
    this.#proc = proc;
  }

  async attachmentOf(path: string): Promise<string | undefined> {
    const id = await identify(path);
    if (id === undefined) return undefined;
    return (await this.#loopOf(id)) ?? (await this.#backendOf(id));
  }

  async userOf(path: string): Promise<string | undefined> {
    const id = await identify(path);
    if (id === undefined) return undefined;
    for (const each of [id, ...(await this.#relativesOf(id))]) {
      const user =
        (await this.#loopOf(each)) ??
        (await this.#backendOf(each)) ??
        (await this.#holderOf(each)) ??
        (await this.#mountOf(each)) ??
        (await this.#processOf(each));
      if (user !== undefined) return user;
    }
    return undefined;
  }

  /** Of a whole disk its partitions, of a partition its disk: whoever uses one of them uses the same bytes. */
  async #relativesOf({ isDevice, rdev }: DiskId): Promise<readonly DiskId[]> {
    if (!isDevice) return [];
    const folder = await realpath(join(this.#sys, 'dev/block', rdev)).catch(() => '');
    if (folder === '') return [];
    const isPartition = (await textOf(join(folder, 'partition'))) !== undefined;
    const folders = isPartition ? [dirname(folder)] : (await namesIn(folder)).map((name) => join(folder, name));
    const found = await Promise.all(
      folders.map(async (each) => {
        if (!isPartition && (await textOf(join(each, 'partition'))) === undefined) return undefined;
        const number = (await textOf(join(each, 'dev')))?.trim();
        const path = join('/dev', basename(each));
        return number === undefined ? undefined : { path, isDevice: true, dev: -1, ino: -1, rdev: number };
      }),
    );
    return found.flatMap((each) => each ?? []);
  }

  // The kernel tells a path, and adds " (deleted)" when the name is gone.
  async #loopOf(id: DiskId): Promise<string | undefined> {
    for (const name of await namesIn(join(this.#sys, 'block'))) {
      if (!name.startsWith('loop')) continue;
      const backing = await textOf(join(this.#sys, 'block', name, 'loop', 'backing_file'));
      if (backing === undefined) continue;
      const file = backing.trim();
      if (file.replace(/ \(deleted\)$/, '') === id.path || isSame(await identify(file), id)) return `/dev/${name}`;
    }
    return undefined;
  }

  async #backendOf(id: DiskId): Promise<string | undefined> {
    const folder = join(this.#sys, 'bus/xen-backend/devices');
    for (const name of await namesIn(folder)) {
      const device = (await textOf(join(folder, name, 'physical_device')))?.trim();
      if (device === undefined || !id.isDevice) continue;
      const [major = '', minor = ''] = device.split(':');
      const number = `${Number.parseInt(major, 16)}:${Number.parseInt(minor, 16)}`;
      if (number === id.rdev) return `Xen's backend ${name}`;
    }
    return undefined;
  }

  async #holderOf(id: DiskId): Promise<string | undefined> {
    if (!id.isDevice) return undefined;
    const [holder] = await namesIn(join(this.#sys, 'dev/block', id.rdev, 'holders'));
    return holder === undefined ? undefined : `/dev/${holder}`;
  }

  async #mountOf(id: DiskId): Promise<string | undefined> {
    if (!id.isDevice) return undefined;
    const lines = ((await textOf(join(this.#proc, 'self/mountinfo'))) ?? '').split('\n').map((line) => line.split(' '));
    const line = lines.find((words) => words[2] === id.rdev);
    return line === undefined ? undefined : `the mount on ${line[4] ?? ''}`;
  }

  async #processOf(id: DiskId): Promise<string | undefined> {
    for (const pid of await namesIn(this.#proc)) {
      if (!/^\d+$/.test(pid)) continue;
      const folder = join(this.#proc, pid, 'fd');
      for (const fd of await namesIn(folder)) {
        const target = await readlink(join(folder, fd)).catch(() => '');
        // Sockets and pipes have no path; stat(2) of a path on a dead network mount would hang.
        if (!target.startsWith('/')) continue;
        if (target !== id.path && !(await isOpenFile(join(folder, fd), target, id))) continue;
        const name = (await textOf(join(this.#proc, pid, 'comm')))?.trim() ?? '';
        return `process ${pid} (${name})`;
      }
    }
    return undefined;
  }
}

/** By another name: a hard link, a bind mount, another node of the same device. */
async function isOpenFile(link: string, target: string, id: DiskId): Promise<boolean> {
  const looksSo = id.isDevice ? target.startsWith('/dev/') : !/^\/(dev|proc|sys)\//.test(target);
  return looksSo && isSame(await identify(link), id);
}

function isSame(a: DiskId | undefined, b: DiskId): boolean {
  if (a === undefined || a.isDevice !== b.isDevice) return false;
  return b.isDevice ? a.rdev === b.rdev : a.dev === b.dev && a.ino === b.ino;
}

async function identify(path: string): Promise<DiskId | undefined> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return undefined;
  // Linux's numbers: 12 bits of major, 20 of minor, in the kernel's own order.
  const major = Math.floor(found.rdev / 256) % 4096;
  const minor = (found.rdev % 256) + Math.floor(found.rdev / 2 ** 20) * 256;
  return { path, isDevice: found.isBlockDevice(), dev: found.dev, ino: found.ino, rdev: `${major}:${minor}` };
}

async function namesIn(folder: string): Promise<readonly string[]> {
  return readdir(folder).catch(() => []);
}

async function textOf(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch(() => undefined);
}
