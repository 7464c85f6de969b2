import { join } from 'node:path';
import { SeedTools } from '../../agent/adapters/guest/seed-tools.js';
import { Dom0BootFiles } from '../../agent/adapters/xl/dom0-boot-files.js';
import { VmCopier, type VmCopierParts } from '../../agent/services/copy-vm.js';
import { createExec, type Exec } from '../../shared/exec.js';

/** Copies VMs of a dom0 whose files to boot with are below `root`. */
export function makeCopier(
  root: string,
  parts: Pick<VmCopierParts, 'cfgFolder' | 'disks' | 'maker'>,
  exec: Exec = createExec(process.env),
): VmCopier {
  const seeds = new SeedTools(exec, join(root, 'work'));
  return new VmCopier({ ...parts, seeds, bootFiles: new Dom0BootFiles(root, '6.1.0') });
}
