import { invalid } from '../errors.js';

/** Programs of a host that install a distribution. */
export const INSTALLERS = ['debootstrap'] as const;
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
  /** An absolute path of the host: the packages, as the installer keeps them. */
  readonly tarball?: string | undefined;
}

/** @throws {AppError} `invalid` naming what is wrong */
export function checkInstaller(source: InstallerSource): InstallerSource {
  const { dist, mirror, tarball } = source;
  if (!/^[a-z][a-z0-9.-]{0,63}$/.test(dist)) {
    throw invalid(`"${dist}" is no name of a distribution`, { dist, hint: 'such as bookworm' });
  }
  if (mirror !== undefined && !isMirror(mirror)) {
    throw invalid(`"${mirror}" is no mirror`, { mirror, hint: 'such as https://mirror.example.org/debian' });
  }
  if (tarball !== undefined && !/^\/[\x21-\x7e]{1,1023}$/.test(tarball)) {
    throw invalid(`"${tarball}" is no absolute path of the host`, { tarball, hint: 'such as /var/lib/bookworm.tar' });
  }
  return source;
}

/** For people: `debootstrap bookworm`. */
export function installerText({ installer, dist }: InstallerSource): string {
  return `${installer} ${dist}`;
}

function isMirror(text: string): boolean {
  return /^(https?:\/\/[^/\s]|file:\/)[\x21-\x7e]*$/.test(text) && text.length <= 1024 && URL.canParse(text);
}
