import { IMAGE_HEAD_BYTES, imageContent, imageFormat } from '../../../shared/domain/image-format.js';
import { formatIpv4 } from '../../../shared/domain/ipv4.js';
import { notFound } from '../../../shared/errors.js';
import { newSeed } from '../../domain/seed/seed-files.js';
import type { BootFiles } from '../../ports/boot-files.js';
import type { HostImages, UnpackedImage, WantedImage } from '../../ports/host-images.js';
import type { ImageFeed } from '../../ports/image-feed.js';
import type { Installer } from '../../ports/installer.js';
import type { SeedDraft, SeedMaker } from '../../ports/seed-maker.js';

/** Files that a simulated host says it has, of images and seeds. */
export const SIM_IMAGE_FOLDER = '/simulated/images';

/** Of an image no more than its beginning is read. */
export class SimImages implements HostImages {
  readonly #feed: ImageFeed;

  constructor(feed: ImageFeed) {
    this.#feed = feed;
  }

  async acquire({ sha256 }: WantedImage, tell: (percent: number) => void, signal: AbortSignal): Promise<UnpackedImage> {
    const head = await this.#headOf(this.#feed.read(sha256, signal));
    // What is packed is taken for what most are: a cloud's image of a whole disk.
    const content = imageFormat(head) === 'raw' ? imageContent(head) : ({ kind: 'disk' } as const);
    tell(100);
    const hasCloudInit = content.kind === 'disk' ? true : undefined;
    return { path: `${SIM_IMAGE_FOLDER}/${sha256}`, content, hasCloudInit, release: () => undefined };
  }

  clear(): Promise<void> {
    return Promise.resolve();
  }

  async #headOf(data: AsyncIterable<Uint8Array>): Promise<Buffer> {
    const pieces: Uint8Array[] = [];
    let bytes = 0;
    for await (const piece of data) {
      pieces.push(piece);
      bytes += piece.length;
      if (bytes >= IMAGE_HEAD_BYTES) break;
    }
    return Buffer.concat(pieces).subarray(0, IMAGE_HEAD_BYTES);
  }
}

/** A dom0 with everything that there is to boot domUs; a path that holds "missing" is not there. */
export const simBootFiles: BootFiles = {
  exists: (path) => Promise.resolve(!path.includes('missing')),
  find: () => Promise.resolve({ running: undefined, hasPygrub: true, pvgrub: '/usr/lib/grub-xen/grub-x86_64-xen.bin' }),
};

/** A simulated guest keeps its addresses in no disk: whatever a cfg has as a seed is one. */
export const simSeeds: SeedMaker = {
  read: (path) => Promise.resolve(newSeed({ name: path, authorizedKeys: [], userData: undefined })),
  draft: () =>
    Promise.resolve({ path: `${SIM_IMAGE_FOLDER}/seed.img`, remove: () => Promise.resolve() } satisfies SeedDraft),
};

/** Installs in no time, and tells what it would write; a tarball whose path holds "missing" is not there. */
export const simInstaller: Installer = {
  install: ({ source: { tarball }, hostname, vif }, tell) => {
    if (tarball?.includes('missing') === true) return Promise.reject(notFound(`The host has no ${tarball}`));
    tell(
      vif === undefined ? 'simulated' : `simulated, with ${formatIpv4(vif.address)} on ${vif.bridge ?? 'no bridge'}`,
    );
    return Promise.resolve({
      path: `${SIM_IMAGE_FOLDER}/${hostname}.img`,
      vdev: 'xvda2',
      remove: () => Promise.resolve(),
    });
  },
  clear: () => Promise.resolve(),
};
