import type { ImageContent } from '../../shared/domain/image-format.js';
import type { Sha256 } from '../../shared/domain/sha256.js';

export interface WantedImage {
  readonly sha256: Sha256;
  /** As it was given, packed or not. */
  readonly sizeBytes: number;
}

/** An image as a raw file of this host. */
export interface UnpackedImage {
  readonly path: string;
  readonly content: ImageContent;
  /** Whether its guest has cloud-init; `undefined`: it cannot be told. */
  readonly hasCloudInit: boolean | undefined;
  /** It is read no more; after a while it goes. Idempotent. */
  release(): void;
}

/** The images that VMs of this host are just made of: each comes from the controller once, however many are made of it. */
export interface HostImages {
  /**
   * @param tell how far it is: 0 to 100
   * @throws {AppError} `invalid` (no image, or one that names other files), `exhausted` (no room), `unavailable` (a program is
   *   missing, the controller), `not_found`
   */
  acquire(image: WantedImage, tell: (percent: number) => void, signal: AbortSignal): Promise<UnpackedImage>;

  /** Removes all: before the first {@link acquire}. Never throws. */
  clear(): Promise<void>;
}
