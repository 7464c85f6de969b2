import type { InstallerSource } from './installer.js';
import type { Sha256 } from './sha256.js';

/** An image that the controller has. */
export interface ImageSource {
  readonly kind: 'image';
  readonly sha256: Sha256;
  /** Of the bytes as they were given. */
  readonly sizeBytes: number;
  /** For people. */
  readonly name: string;
  /** Whether VMs of it get a seed for cloud-init; `undefined`: if cloud-init is in it, or there is user data. */
  readonly isCloud: boolean | undefined;
}

/** What a VM is made of that is a copy of no other. */
export type MakeSource = ImageSource | InstallerSource;
