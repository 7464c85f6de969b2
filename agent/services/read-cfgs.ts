import type { XlCfg } from '../domain/xl-cfg/syntax.js';
import { parseXlCfg } from '../domain/xl-cfg/xl-cfg.js';
import type { CfgFolder } from '../ports/cfg-folder.js';

/** Those of this host that can be read; the VM of another has a problem, which others tell of. */
export async function readCfgs(folder: CfgFolder): Promise<readonly XlCfg[]> {
  return (await folder.list()).flatMap((file) => {
    if (file.kind !== 'text') return [];
    try {
      return [parseXlCfg(file.text)];
    } catch {
      return [];
    }
  });
}
