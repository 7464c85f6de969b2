import { checkInstaller, INSTALLERS, type InstallerName, type InstallerSource } from '../domain/installer.js';
import type { ImageSource } from '../domain/make-source.js';
import { parseSha256 } from '../domain/sha256.js';
import { invalid } from '../errors.js';
import {
  Installer as WireInstallerName,
  type ImageSource as WireImage,
  type InstallerSource as WireInstaller,
} from '../gen/domherd/v1/image.js';

const MAX_NAME = 1_024;

export function imageSourceToWire({ sha256, sizeBytes, name, isCloud }: ImageSource): WireImage {
  return { sha256, sizeBytes: BigInt(sizeBytes), name, cloudInit: isCloud };
}

/** @throws {AppError} `invalid` naming the field */
export function imageSourceFromWire({ sha256, sizeBytes, name, cloudInit }: WireImage): ImageSource {
  const size = Number(sizeBytes);
  if (!Number.isSafeInteger(size) || size < 1) throw invalid('image.size_bytes is 0', { field: 'image.size_bytes' });
  if (name.length > MAX_NAME) throw invalid(`image.name is longer than ${MAX_NAME}`, { field: 'image.name' });
  return { kind: 'image', sha256: parseSha256(sha256), sizeBytes: size, name, isCloud: cloudInit };
}

const INSTALLER_TO_WIRE: Readonly<Record<InstallerName, WireInstallerName>> = {
  debootstrap: WireInstallerName.DEBOOTSTRAP,
  'xen-tools': WireInstallerName.XEN_TOOLS,
};

export function installerToWire({ installer, dist, mirror = '', tarball = '' }: InstallerSource): WireInstaller {
  return { installer: INSTALLER_TO_WIRE[installer], dist, mirror, tarball };
}

/** @throws {AppError} `invalid` naming the field */
export function installerFromWire({ installer: wire, dist, mirror, tarball }: WireInstaller): InstallerSource {
  const installer = INSTALLERS.find((name) => INSTALLER_TO_WIRE[name] === wire);
  if (installer === undefined) {
    throw invalid('installer.installer is none that is known here', { field: 'installer.installer' });
  }
  return checkInstaller({
    ...{ kind: 'installer', installer, dist },
    mirror: mirror === '' ? undefined : mirror,
    tarball: tarball === '' ? undefined : tarball,
  });
}
