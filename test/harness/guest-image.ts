import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** A file with its text, one with a mode, or a link. */
export type SampleFile = string | { readonly text: string; readonly mode: number } | { readonly link: string };

export const INTERFACES = `# The loopback network interface
auto lo
iface lo inet loopback

# The primary network interface
auto eth0
iface eth0 inet dhcp
#post-up ethtool -K eth0 tx off
`;

/** What xen-tools makes: Debian with ifupdown, on DHCP. */
export const DEBIAN: Readonly<Record<string, SampleFile>> = {
  '/sbin/ifup': { text: '#!/bin/sh\n', mode: 0o755 },
  '/etc/os-release': 'PRETTY_NAME="Debian GNU/Linux 6 (squeeze)"\nID=debian\nVERSION_ID="6"\n',
  '/etc/network/interfaces': INTERFACES,
  '/etc/hostname': 'domU\n',
  '/etc/hosts': '127.0.0.1\tlocalhost\n127.0.1.1\tdomU.example domU\n',
  '/etc/resolv.conf': 'nameserver 192.0.2.1\n',
  '/etc/shadow': { text: 'root:$6$x$y:15000:0:99999:7:::\n', mode: 0o640 },
  '/etc/cloud-is-not-here': '',
};

/** Makes a tree of files below `folder`. */
export function makeFiles(folder: string, files: Readonly<Record<string, SampleFile>>): void {
  mkdirSync(folder, { recursive: true });
  for (const [path, file] of Object.entries(files)) {
    const to = join(folder, path);
    mkdirSync(dirname(to), { recursive: true });
    if (typeof file === 'string') writeFileSync(to, file);
    else if ('link' in file) symlinkSync(file.link, to);
    else {
      writeFileSync(to, file.text);
      chmodSync(to, file.mode);
    }
  }
}

/** Makes a file system of `type` with those files in the file `image`. */
export function makeImage(
  image: string,
  files: Readonly<Record<string, SampleFile>>,
  options: { readonly type?: string; readonly size?: string; readonly mkfs?: readonly string[] } = {},
): void {
  const { type = 'ext4', size = '32M', mkfs = [] } = options;
  const root = `${image}.root`;
  makeFiles(root, files);
  writeFileSync(image, '');
  truncateSync(image, Number(size.slice(0, -1)) * 1024 * 1024);
  execFileSync(`mkfs.${type}`, ['-q', '-F', ...mkfs, '-d', root, image]);
}

/** The text of a file in the image; empty if there is none. */
export function readInImage(image: string, path: string): string {
  return execFileSync('debugfs', ['-c', '-R', `cat ${path}`, image], {
    stdio: ['ignore', 'pipe', 'ignore'],
  }).toString();
}

/** Permission bits, uid and gid of a file in the image, such as "0644 0 0". */
export function ownershipInImage(image: string, path: string): string {
  const text = execFileSync('debugfs', ['-c', '-R', `stat ${path}`, image], {
    stdio: ['ignore', 'pipe', 'ignore'],
  }).toString();
  const [, mode, uid, gid] = /Mode: +(\d+)[^]*User: +(\d+) +Group: +(\d+)/.exec(text) ?? [];
  return `${mode ?? '?'} ${uid ?? '?'} ${gid ?? '?'}`;
}

/** Whether e2fsck finds nothing to say. */
export function isClean(image: string): boolean {
  try {
    execFileSync('e2fsck', ['-fn', image], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

export interface DiskPart {
  /** Bytes from the beginning of the disk. */
  readonly at: number;
  readonly sizeBytes: number;
}

/**
 * Makes a whole disk: a partition table by sfdisk(8), and a file system with those files in each partition that has some.
 *
 * @param script sfdisk's input
 * @param files by number of the partition, with mke2fs's further options
 */
export function makeWholeDisk(
  image: string,
  sizeMib: number,
  script: string,
  files: Readonly<Record<number, Readonly<Record<string, SampleFile>>>>,
  mkfs: readonly string[] = [],
): ReadonlyMap<number, DiskPart> {
  rmSync(image, { force: true });
  writeFileSync(image, '');
  truncateSync(image, sizeMib * 1024 * 1024);
  execFileSync('sfdisk', ['-q', image], { input: script, stdio: ['pipe', 'ignore', 'pipe'] });
  const parts = partsOf(image);
  for (const [number, tree] of Object.entries(files)) {
    const part = parts.get(Number(number));
    if (part === undefined) throw new Error(`no partition ${number}`);
    const root = `${image}.root${number}`;
    makeFiles(root, tree);
    const size = `${String(part.sizeBytes / 1024)}k`;
    execFileSync('mke2fs', ['-q', '-F', '-t', 'ext4', ...mkfs, '-E', `offset=${part.at}`, '-d', root, image, size], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  }
  return parts;
}

/** As sfdisk reads the table. */
export function partsOf(image: string): ReadonlyMap<number, DiskPart> {
  const { partitiontable } = JSON.parse(execFileSync('sfdisk', ['--json', image]).toString()) as {
    partitiontable: { partitions: readonly { node: string; start: number; size: number }[] };
  };
  return new Map(
    partitiontable.partitions.map(({ node, start, size }) => [
      Number(/(\d+)$/.exec(node)?.[1]),
      { at: start * 512, sizeBytes: size * 512 },
    ]),
  );
}

/** What the functions here, and e2fsprogs, take for the file system of a partition. */
export function partImage(image: string, { at }: DiskPart): string {
  return `${image}?offset=${String(at)}`;
}

/** Of an ext file system, by its own word. */
export function fsBytes(image: string): number {
  const header = execFileSync('dumpe2fs', ['-h', image], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
  const [blocks, size] = [/^Block count: +(\d+)/m, /^Block size: +(\d+)/m].map((line) =>
    Number(line.exec(header)?.[1]),
  );
  return (blocks ?? 0) * (size ?? 0);
}

const LONGER_BYTES = 16 * 1024 * 1024;

export function lengthen(image: string): Promise<void> {
  truncateSync(image, statSync(image).size + LONGER_BYTES);
  return Promise.resolve();
}
