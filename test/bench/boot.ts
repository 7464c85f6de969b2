import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { listVifs } from '../../agent/domain/xl-cfg/vif.js';
import { parseXlCfg } from '../../agent/domain/xl-cfg/xl-cfg.js';
import { median, times, type Row } from './report.js';

const FILES = 1000;
const RUNS = 5;

/**
 * What the boot script of the testbed's image did: for each file a random MAC, and one in-place sed that puts it into every
 * `mac=`. No check, no backup, no sync; the second vif gets the MAC of the first.
 */
const LOOP = `
random_mac() { printf '00:16:3e:0c:%02x:%02x' $((RANDOM % 256)) $((RANDOM % 256)); }
for file in "$1"/*.cfg; do
  sed -i "s/mac=[A-Za-z0-9:]*/mac=$(random_mac)/g" "$file"
done
`;

/** Whole processes, in turn on the same files, so that the machine's moods hit both. */
export function bootRows(folder: string): Row[] {
  const xen = join(folder, 'boot-xen');
  const program = join(process.cwd(), 'dist', 'agent', 'domherd-agent.mjs');
  const boot = ['boot', '--xen-dir', xen, '--state-dir', join(folder, 'boot-state'), '--policy', 'every-boot'];
  writeFiles(xen);
  const [boots, loops]: [number[], number[]] = [[], []];
  for (let run = 0; run < RUNS; run += 1) {
    boots.push(timeProcess(process.execPath, [program, ...boot]));
    checkFiles(xen);
    loops.push(timeProcess('bash', ['-c', LOOP, 'loop', xen]));
  }
  for (const name of ['boot-xen', 'boot-state']) rmSync(join(folder, name), { recursive: true });
  const [ms, loopMs] = [median(boots), median(loops)];
  return [
    {
      what: `boot over ${FILES.toLocaleString('en')} cfgs, crash-safe, with backups`,
      value: `${ms.toFixed(0)} ms`,
      anchor: `bash and sed ${loopMs.toFixed(0)} ms: ${times(loopMs, ms)} faster`,
      goal: '>= 3x faster',
    },
  ];
}

function writeFiles(xen: string): void {
  mkdirSync(xen);
  for (let n = 0; n < FILES; n += 1) {
    const vif = `vif         = [ 'mac=00:16:3e:00:00:01, bridge=eth0' ]`;
    const disk = `disk        = [ 'file:/opt/xen/domains/vm${n}/disk.img,xvda2,w' ]`;
    writeFileSync(join(xen, `vm${n}.cfg`), `# a domU\nname        = 'vm${n}'\nmemory      = '128'\n${disk}\n${vif}\n`);
  }
}

/** What is fast and wrong is no figure. */
function checkFiles(xen: string): void {
  const vifs = readdirSync(xen).flatMap((name) => listVifs(parseXlCfg(readFileSync(join(xen, name), 'latin1'))));
  const macs = new Set(vifs.map(({ macAsXlReads }) => macAsXlReads));
  if (macs.size !== FILES || vifs.length !== FILES) throw new Error(`${macs.size} MACs in ${vifs.length} vifs`);
}

function timeProcess(file: string, args: readonly string[]): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(file, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  if (status !== 0) throw new Error(`${file} ended with ${String(status)}: ${stderr.toString()}`);
  return performance.now() - start;
}
