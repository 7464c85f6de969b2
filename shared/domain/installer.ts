import { invalid } from '../errors.js';

/** Programs of a host that install a distribution. */
export const INSTALLERS = ['debootstrap', 'xen-tools'] as const;
export type InstallerName = (typeof INSTALLERS)[number];

export const DEFAULT_DIST = 'bookworm';

/** What a program of the host installs, to make VMs of. */
export interface InstallerSource {
  readonly kind: 'installer';
  readonly installer: InstallerName;
  /** The distribution's name: `bookworm`. */
  readonly dist: string;
  /** A URL; `undefined`: where the host's own packages come from. */
  readonly mirror?: string | undefined;
  /** An absolute path of the host: for debootstrap the packages, for xen-tools the installed system. */
  readonly tarball?: string | undefined;
}

/**
 * Nothing that a shell would read as more than a word: xen-tools hands it to one.
 *
 * @throws {AppError} `invalid` naming what is wrong
 */
export function checkInstaller(source: InstallerSource): InstallerSource {
  const { dist, mirror, tarball } = source;
  if (!/^[a-z][a-z0-9.-]{0,63}$/.test(dist)) {
    throw invalid(`"${dist}" is no name of a distribution`, { dist, hint: 'such as bookworm' });
  }
  if (mirror !== undefined && !isMirror(mirror)) {
    throw invalid(`"${mirror}" is no mirror`, { mirror, hint: 'such as https://mirror.example.org/debian' });
  }
  if (tarball !== undefined && !/^\/[\w.+@%=:,~/-]{1,1023}$/.test(tarball)) {
    throw invalid(`"${tarball}" is no absolute path of the host`, { tarball, hint: 'such as /var/lib/bookworm.tar' });
  }
  return source;
}

/** For people: `debootstrap bookworm`. */
export function installerText({ installer, dist }: InstallerSource): string {
  return `${installer} ${dist}`;
}

function isMirror(text: string): boolean {
  return /^(https?:\/\/[\w[]|file:\/)[\w.+@%=:,~/[\]-]*$/.test(text) && text.length <= 1024 && URL.canParse(text);
}
