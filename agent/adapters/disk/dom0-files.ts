import { stat } from 'node:fs/promises';
import type { HostFiles } from '../../ports/host-files.js';
import { fileError, unlessMissing } from './atomic-file.js';

/** The files and block devices of this machine. */
export const dom0Files: HostFiles = {
  async exists(path) {
    try {
      return (await unlessMissing(stat(path))) !== undefined;
    } catch (error) {
      throw fileError(`${path} cannot be looked at`, error);
    }
  },
};
