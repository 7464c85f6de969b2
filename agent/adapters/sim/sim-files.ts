import type { FilePiece } from '../../../shared/domain/transfer.js';
import type { DiskContent } from '../../ports/disk-content.js';
import type { HostFiles } from '../../ports/host-files.js';

/** Of each simulated disk. */
export const SIM_DISK_BYTES = 64 * 1024;

/** A simulated host has every file that a cfg names; what is in a disk is its path, again and again. */
export const simFiles: DiskContent & HostFiles = {
  exists: () => Promise.resolve(true),

  async *read({ path }, file): AsyncGenerator<FilePiece, void, undefined> {
    yield await Promise.resolve({ file, offsetBytes: 0, bytes: Buffer.alloc(SIM_DISK_BYTES, `${path}\n`) });
  },
};
