// Guests whose root is one ext2, ext3 or ext4 file system in a raw file, a qcow2 image or on a block device.
//
// A write edits a copy of the file system's metadata (a few MB, sparse, whatever the size of the disk), lets e2fsck judge the
// copy, and then has a list of blocks with the bytes before and after. That list is made durable, and only then does the
// disk change: so a full disk or a refusal leaves the disk as it was, and a death in the middle is put right from the list.
//
// Invariants:
// - The file system is never given to dom0's kernel. Nothing is written while anybody uses the disk.
// - Only what was read back from the disk, and passed e2fsck there, is a success.
// - What comes before is a replay of the disk's own journal (e2fsck -p), as its guest would do at the next boot; a disk that
//   is clean is not even touched by that.
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { AppError, messageOf, wrongState } from '../../../shared/errors.js';
import type { Exec } from '../../../shared/exec.js';
import type { DiskImage } from '../../domain/new-disk.js';
import { editCommands } from '../../domain/guest/debugfs-text.js';
import { type NicOptions, planGuest, readGuest } from '../../domain/guest/guest-plan.js';
import { originalsOf, planRestore } from '../../domain/guest/guest-original.js';
import type { GuestEdit, GuestTree, Ownership } from '../../domain/guest/guest-tree.js';
import { hostKeyTypes, planRenewal, type RenewSettings } from '../../domain/guest/renew-plan.js';
import { planGrowth } from '../../domain/guest/partition-table.js';
import { type RootPlace, rootDisks } from '../../domain/guest/root-disk.js';
import type { GuestSettings } from '../../domain/order.js';
import type { XlCfg } from '../../domain/xl-cfg/syntax.js';
import { listVifs } from '../../domain/xl-cfg/vif.js';
import { getString } from '../../domain/xl-cfg/xl-cfg.js';
import type { Guest, GuestChange, GuestDisk, GuestNetwork } from '../../ports/guest-disk.js';
import type { ViewAccess } from '../../ports/raw-views.js';
import type { RecordStore } from '../../ports/record-store.js';
import {
  type BlockChange,
  formatBlockChange,
  parseBlockChange,
  readPieces,
  writePieces,
  writeTable,
} from './block-change.js';
import type { DiskUse } from './disk-use.js';
import { DiskViews } from './disk-view.js';
import { E2fsTools, type FsImage } from './e2fs-tools.js';
import { readGuestTree } from './guest-tree-reader.js';
import { makeHostKeys } from './host-key-maker.js';
import { readHead, type RootDisk, withRoot } from './root-finder.js';
import { areOfAnother, formatOriginals, type OriginalRecord, parseOriginals } from './original-record.js';

/** Of one write: the checks of a large disk take most of it. */
const WRITE_MS = 120_000;

/** Of one growth: a large disk gets many new tables of inodes. */
const GROW_MS = 900_000;
/** Less than a group of blocks is not worth it, and may not be possible. */
const LEAST_GROWTH_BYTES = 1024 * 1024;

export interface E2fsGuestDiskOptions {
  readonly exec: Exec;
  readonly use: DiskUse;
  /** The changes that are open. */
  readonly changes: RecordStore;
  /** The files of each guest as they were before the first change that stood. */
  readonly originals: RecordStore;
  /** Absolute, for files that need not outlive the process; made when first needed. */
  readonly workFolder: string;
}

interface KnownGuest {
  readonly signature: string;
  readonly network: GuestNetwork | undefined;
}

export class E2fsGuestDisk implements GuestDisk {
  readonly #options: E2fsGuestDiskOptions;
  readonly #tools: E2fsTools;
  readonly #views: DiskViews;
  /** By cfg path. */
  readonly #known = new Map<string, KnownGuest>();
  readonly #busyDisks = new Set<string>();

  constructor(options: E2fsGuestDiskOptions) {
    this.#options = options;
    this.#tools = new E2fsTools(options.exec);
    this.#views = new DiskViews(options);
  }

  async read(guest: Guest): Promise<GuestNetwork | undefined> {
    const places = rootDisks(guest.cfg);
    const known = this.#known.get(guest.cfgPath);
    const signature = `${guest.cfg.text}\n${(await Promise.all(places.map(({ target }) => signatureOf(target)))).join('\n')}`;
    if (known?.signature === signature) return known.network;
    // A running guest writes all the time; what it was given is read again when it has stopped.
    if (known !== undefined && (await this.#isAttached(places))) return known.network;
    const network = await this.#readNow(guest).catch(() => undefined);
    this.#known.set(guest.cfgPath, { signature, network });
    return network;
  }

  async write(guest: Guest, settings: GuestSettings, signal: AbortSignal): Promise<GuestChange> {
    return this.#withRoot(guest, 'write', signal, (root) => this.#write(root, guest, settings, signal));
  }

  async #write(root: RootDisk, guest: Guest, settings: GuestSettings, signal: AbortSignal): Promise<GuestChange> {
    return this.#alone(root.image.path, signal, async (work, limited) => {
      await this.#refuseOpen(guest.cfgPath);
      const tree = await this.#treeOf(root, work, limited);
      const { edits, warnings } = planGuest(tree, settings, nicOptions(guest.cfg));
      if (edits.length === 0) return doneAlready(warnings);
      const originals = originalsOf(edits, tree);
      const about = { ...aboutOf(guest, root), warnings, originals, isRestore: false };
      const change = await this.#prepare(root, about, edits, tree, work, limited);
      await this.#apply(root, change, edits, work, limited);
      return this.#openChange(change);
    });
  }

  async restore(guest: Guest, signal: AbortSignal): Promise<GuestChange | undefined> {
    const bytes = await this.#options.originals.read(keyOf(guest.cfgPath));
    if (bytes === undefined) return undefined;
    const originals = parseOriginals(bytes);
    return this.#withRoot(guest, 'write', signal, (root) => this.#restore(root, guest, originals, signal));
  }

  async #restore(
    root: RootDisk,
    guest: Guest,
    originals: OriginalRecord,
    signal: AbortSignal,
  ): Promise<GuestChange | undefined> {
    const { path: disk } = root.image;
    if (areOfAnother(originals, root.fsUuid)) {
      throw wrongState(`The disk ${disk} was made anew since it was written: its former files are of another one`, {
        disk,
        hint: 'keep it as it is; what the cfg was is in the backup folder of the agent, and domherd lease release frees the address',
      });
    }
    return this.#alone(disk, signal, async (work, limited) => {
      await this.#refuseOpen(guest.cfgPath);
      const tree = await this.#treeOf(root, work, limited);
      const edits = planRestore(tree, originals.files);
      const about = { ...aboutOf(guest, root), warnings: [], originals: {}, isRestore: true };
      const change =
        edits.length === 0 ? { ...about, pieces: [] } : await this.#prepare(root, about, edits, tree, work, limited);
      await this.#apply(root, change, edits, work, limited);
      return this.#openChange(change);
    });
  }

  async renew(guest: Guest, settings: RenewSettings, signal: AbortSignal): Promise<readonly string[]> {
    return this.#withRoot(guest, 'write', signal, (root) => this.#renew(root, guest, settings, signal));
  }

  async #renew(root: RootDisk, guest: Guest, settings: RenewSettings, signal: AbortSignal): Promise<readonly string[]> {
    return this.#alone(root.image.path, signal, async (work, limited) => {
      const tree = await this.#treeOf(root, work, limited);
      const keys = await makeHostKeys(this.#options.exec, hostKeyTypes(tree), {
        name: guest.name,
        work,
        signal: limited,
      });
      const { edits, warnings } = planRenewal(tree, keys, settings);
      if (edits.length === 0) return warnings;
      const about = { ...aboutOf(guest, root), warnings: [], originals: {}, isRestore: false };
      await this.#apply(root, await this.#prepare(root, about, edits, tree, work, limited), edits, work, limited);
      await this.#options.changes.remove(keyOf(guest.cfgPath));
      return warnings;
    });
  }

  async grow(guest: Guest, signal: AbortSignal): Promise<void> {
    return this.#withRoot(guest, 'write', signal, (root) => this.#grow(root, signal));
  }

  async #grow(root: RootDisk, signal: AbortSignal): Promise<void> {
    const { disk, partition, image } = root;
    const limited = { signal, limitMs: GROW_MS };
    await this.#alone(image.path, limited, async (_work, stop) => {
      await this.#refuseInUse(disk);
      const { head, diskBytes } = await readHead(disk);
      const growth = partition === undefined ? undefined : planGrowth(head, diskBytes, partition);
      const sizeBytes = growth?.sizeBytes ?? diskBytes;
      if (sizeBytes - root.sizeBytes < LEAST_GROWTH_BYTES) return;
      if (growth) await writeTable(disk, growth.writes);
      stop.throwIfAborted();
      await this.#tools.grow(root, sizeBytes, stop);
    });
  }

  async forget(cfgPath: string): Promise<void> {
    await this.#options.changes.remove(keyOf(cfgPath));
    await this.#options.originals.remove(keyOf(cfgPath));
    this.#known.delete(cfgPath);
  }

  async follow(from: string, to: string): Promise<void> {
    const { originals } = this.#options;
    const bytes = await originals.read(keyOf(from));
    if (bytes !== undefined) await originals.write(keyOf(to), formatOriginals(to, parseOriginals(bytes)));
    await this.forget(from);
  }

  async findOpen(cfgPath: string): Promise<GuestChange | undefined> {
    const bytes = await this.#options.changes.read(keyOf(cfgPath));
    return bytes === undefined ? undefined : this.#openChange(parseBlockChange(bytes));
  }

  /** Of a disk that nobody uses, put right if need be. */
  async #treeOf(root: RootDisk, work: string, signal: AbortSignal): Promise<GuestTree> {
    await this.#refuseInUse(root.disk);
    if (!root.isClean) await this.#tools.repair(root, signal);
    return readGuestTree(this.#tools, root, work, signal);
  }

  async #readNow(guest: Guest): Promise<GuestNetwork | undefined> {
    const signal = AbortSignal.timeout(WRITE_MS);
    return this.#withRoot(guest, 'read', signal, (root) =>
      this.#inWorkFolder(async (work) => {
        const tree = await readGuestTree(this.#tools, root, work, signal);
        return readGuest(tree, nicOptions(guest.cfg));
      }),
    );
  }

  #withRoot<T>(guest: Guest, access: ViewAccess, signal: AbortSignal, use: (root: RootDisk) => Promise<T>): Promise<T> {
    return withRoot(guest.cfg, { tools: this.#tools, views: this.#views, access, signal }, use);
  }

  /** Edits a copy of the metadata. Nothing of the disk is changed. */
  async #prepare(
    root: FsImage,
    about: Omit<BlockChange, 'pieces'>,
    edits: readonly GuestEdit[],
    tree: GuestTree,
    work: string,
    signal: AbortSignal,
  ): Promise<BlockChange> {
    const metadata = join(work, 'metadata');
    const sources = edits.map((_, n) => join(work, `new-${n}`));
    await this.#tools.copyMetadata(root, metadata, signal);
    for (const [n, edit] of edits.entries()) {
      if (edit.kind === 'write') await writeFile(sources[n] ?? '', edit.text, 'latin1');
    }
    const ranges = await this.#tools.edit(metadata, editCommands(edits, tree, sources), work, signal);
    await this.#checkEdits({ disk: metadata, at: 0 }, about.disk, edits, work, signal);
    return { ...about, pieces: await readPieces(root, metadata, ranges) };
  }

  async #apply(
    root: RootDisk,
    change: BlockChange,
    edits: readonly GuestEdit[],
    work: string,
    signal: AbortSignal,
  ): Promise<void> {
    const { changes } = this.#options;
    signal.throwIfAborted();
    await this.#refuseInUse(root.disk);
    await changes.write(keyOf(change.cfgPath), formatBlockChange(change));
    try {
      await writePieces(root.disk, change, 'after');
      await this.#checkEdits(root, change.disk, edits, work, signal);
    } catch (error) {
      // What cannot be put back now stays recorded, and is put back by whoever finds it open.
      await writePieces(root.disk, change, 'before');
      await changes.remove(keyOf(change.cfgPath));
      throw error;
    }
  }

  /** debugfs says nothing of its failures: the files are read, and e2fsck is asked. */
  async #checkEdits(
    image: FsImage,
    name: string,
    edits: readonly GuestEdit[],
    work: string,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#tools.verify(image, name, signal);
    const tree = await readGuestTree(this.#tools, image, work, signal);
    const wrong = edits.find((edit) => !holds(tree, edit, edits));
    if (wrong === undefined) return;
    throw wrongState(`${wrong.path} could not be written into ${name}`, {
      hint: 'is there room in the guest? dumpe2fs -h tells its free blocks and inodes',
    });
  }

  #openChange(change: BlockChange): GuestChange {
    const key = keyOf(change.cfgPath);
    const { changes } = this.#options;
    return {
      warnings: change.warnings,
      keep: async () => {
        // Only what stands counts: a change that was undone did not change the files.
        if ((await changes.read(key)) === undefined) return;
        if (change.isRestore) await this.#options.originals.remove(key);
        else await this.#keepOriginals(change);
        await changes.remove(key);
      },
      undo: async () => {
        if ((await changes.read(key)) === undefined) return;
        await this.#putBack(change);
        await changes.remove(key);
      },
    };
  }

  async #putBack(change: BlockChange): Promise<void> {
    const image: DiskImage = { path: change.disk, format: change.format };
    await this.#views.withRaw(image, 'write', AbortSignal.timeout(WRITE_MS), async (disk) => {
      await this.#refuseInUse(disk);
      await writePieces(disk, change, 'before');
    });
  }

  async #keepOriginals({ cfgPath, originals, fsUuid }: BlockChange): Promise<void> {
    const store = this.#options.originals;
    const bytes = await store.read(keyOf(cfgPath));
    const kept = bytes === undefined ? undefined : parseOriginals(bytes);
    const files = kept === undefined || areOfAnother(kept, fsUuid) ? {} : kept.files;
    const isKnown = Object.keys(originals).every((path) => Object.hasOwn(files, path));
    if (!isKnown)
      await store.write(keyOf(cfgPath), formatOriginals(cfgPath, { fsUuid, files: { ...originals, ...files } }));
  }

  async #refuseOpen(cfgPath: string): Promise<void> {
    if ((await this.#options.changes.read(keyOf(cfgPath))) === undefined) return;
    throw wrongState(`An earlier change of the guest of ${cfgPath} is open`, { hint: 'restart domherd-agent' });
  }

  async #refuseInUse(disk: string): Promise<void> {
    const user = await this.#options.use.userOf(disk);
    if (user !== undefined) throw wrongState(`The disk ${disk} is in use by ${user}`, { disk, user });
  }

  async #isAttached(places: readonly RootPlace[]): Promise<boolean> {
    const { use } = this.#options;
    const found = await Promise.all(
      places.map(async ({ target, format }) => {
        const path = await realpath(target).catch(() => target);
        // A device model is neither a loop device nor a backend of the kernel.
        return format === 'raw' ? use.attachmentOf(path) : use.userOf(path);
      }),
    );
    return found.some((each) => each !== undefined);
  }

  /** One write at a time to a disk, within its limit. */
  async #alone<T>(
    disk: string,
    limit: AbortSignal | { readonly signal: AbortSignal; readonly limitMs: number },
    use: (work: string, limited: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { signal, limitMs } = limit instanceof AbortSignal ? { signal: limit, limitMs: WRITE_MS } : limit;
    if (this.#busyDisks.has(disk)) throw wrongState(`The disk ${disk} is being written for another VM`, { disk });
    const end = new AbortController();
    const late = new AppError('timeout', `${disk} was not written in ${limitMs / 1000} s`, { disk });
    const timer = setTimeout(() => end.abort(late), limitMs);
    this.#busyDisks.add(disk);
    try {
      return await this.#inWorkFolder((work) => use(work, AbortSignal.any([signal, end.signal])));
    } finally {
      clearTimeout(timer);
      this.#busyDisks.delete(disk);
    }
  }

  async #inWorkFolder<T>(use: (work: string) => Promise<T>): Promise<T> {
    const { workFolder } = this.#options;
    let work: string | undefined;
    try {
      await mkdir(workFolder, { recursive: true, mode: 0o700 });
      work = await mkdtemp(join(workFolder, 'guest-'));
      return await use(work);
    } catch (error) {
      if (error instanceof AppError) throw error;
      throw new AppError('unavailable', `The disk of a guest cannot be edited: ${messageOf(error)}`, {}, error);
    } finally {
      if (work !== undefined) await rm(work, { recursive: true, force: true });
    }
  }
}

/** Changes when the disk does: for a file its times, for a device the kernel's count of what was written. */
async function signatureOf(path: string): Promise<string> {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  if (found === undefined) return 'none';
  if (!found.isBlockDevice()) {
    return [found.dev, found.ino, found.size, found.mtimeNs, found.ctimeNs].join(' ');
  }
  const name = (await realpath(path)).replace(/^\/dev\//, '');
  const counts = await readFile(`/sys/class/block/${name}/stat`, 'utf8').catch(() => '');
  return `${found.rdev} ${counts.trim().split(/\s+/)[6] ?? ''}`;
}

function holds(tree: GuestTree, edit: GuestEdit, edits: readonly GuestEdit[]): boolean {
  const last = edits.findLast(({ path }) => path === edit.path);
  const node = tree.get(edit.path);
  if (last?.kind === 'link') return node?.kind === 'link' && node.target === last.target;
  if (last?.kind === 'folder') return node?.kind === 'folder' && isOwnedAs(node, last);
  if (last?.kind !== 'write') return node === undefined;
  return node?.kind === 'file' && node.text === last.text && isOwnedAs(node, last);
}

function isOwnedAs(a: Ownership, b: Ownership): boolean {
  return a.mode === b.mode && a.uid === b.uid && a.gid === b.gid;
}

function doneAlready(warnings: readonly string[]): GuestChange {
  return { warnings, undo: () => Promise.resolve(), keep: () => Promise.resolve() };
}

function aboutOf(
  { cfgPath }: Guest,
  { image, fsUuid }: RootDisk,
): Pick<BlockChange, 'cfgPath' | 'disk' | 'format' | 'fsUuid'> {
  return { cfgPath, disk: image.path, format: image.format, fsUuid };
}

function nicOptions(cfg: XlCfg): NicOptions {
  const vifs = listVifs(cfg);
  const macs = vifs.flatMap(({ index, macAsXlReads }) =>
    macAsXlReads === undefined ? [] : [[index, macAsXlReads] as const],
  );
  const kernelLine = ['extra', 'cmdline', 'root'].map((key) => getString(cfg, key) ?? '').join(' ');
  return { vifCount: vifs.length, macs: new Map(macs), kernelLine };
}

function keyOf(cfgPath: string): string {
  return createHash('sha256').update(cfgPath).digest('hex').slice(0, 40);
}
