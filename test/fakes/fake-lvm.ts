import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Exec, ExecResult } from '../../shared/exec.js';

export interface FakeVolume {
  readonly name: string;
  readonly sizeBytes: number;
  readonly type: 'linear' | 'snapshot' | 'thin' | 'thin-pool';
  readonly pool?: string;
  readonly origin?: string;
  readonly tag?: string;
  readonly dataPercent?: number;
}

const EXTENT = 4 * 1024 * 1024;

/**
 * The programs of LVM for one volume group where the kernel has no device mapper. Plain and thin volumes are loop devices, so
 * that what is written to them is really written; a snapshot is a name. Other programs are the real ones.
 */
export class FakeLvm implements Exec {
  readonly volumes = new Map<string, FakeVolume>();
  /** Of lvcreate, lvextend and lvremove. */
  readonly changes: string[] = [];
  readonly #loops = new Map<string, string>();
  readonly #exec: Exec;
  readonly #folder: string;
  readonly group: string;
  readonly #hasNodes: boolean;

  /** @param group of its own: then its volumes are below /dev for everybody; left out: `vg0`, for these programs alone */
  constructor(exec: Exec, folder: string, group?: string) {
    this.#exec = exec;
    this.#folder = folder;
    this.group = group ?? 'vg0';
    this.#hasNodes = group !== undefined;
    if (this.#hasNodes) mkdirSync(join('/dev', this.group));
  }

  /** Full of what somebody else left there. */
  add(volume: FakeVolume): void {
    this.volumes.set(volume.name, volume);
    if (volume.type === 'thin-pool' || volume.type === 'snapshot') return;
    const file = join(this.#folder, `${volume.name}.lv`);
    writeFileSync(file, Buffer.alloc(volume.sizeBytes, volume.type === 'thin' ? 0 : 0xaa));
    const loop = execFileSync('losetup', ['--show', '-f', file]).toString().trim();
    this.#loops.set(volume.name, loop);
    if (this.#hasNodes) symlinkSync(loop, join('/dev', this.group, volume.name));
  }

  /** The block device behind it. */
  deviceOf(name: string): string {
    return this.#loops.get(name) ?? '';
  }

  close(): void {
    for (const loop of this.#loops.values()) execFileSync('losetup', ['-d', loop]);
    this.#loops.clear();
    if (this.#hasNodes) rmSync(join('/dev', this.group), { recursive: true });
  }

  async run(argv: Parameters<Exec['run']>[0], options: Parameters<Exec['run']>[1]): Promise<ExecResult> {
    const [program, ...args] = argv;
    const node = new RegExp(`/dev/${this.group}/(\\S+)$`);
    const say = (stdout: string): ExecResult => ({ argv, stdout: Buffer.from(stdout), stderr: '', kind: 'ok' });
    switch (program) {
      case 'vgs':
        return say(
          JSON.stringify({ report: [{ vg: [{ vg_name: this.group, vg_size: '1073741824', vg_free: '536870912' }] }] }),
        );
      case 'lvs':
        return say(
          JSON.stringify({ report: [{ lv: [...this.volumes.values()].map((each) => rowOf(this.group, each)) }] }),
        );
      case 'lvcreate':
      case 'lvextend':
      case 'lvremove':
        this.changes.push([program, ...args.filter((arg) => arg !== '--yes' && arg !== '--quiet')].join(' '));
        this.#change(program, args);
        return say('');
      default: {
        const there = argv.map((arg) => arg.replace(node, (_, name: string) => this.deviceOf(name)));
        return this.#exec.run([there[0] ?? '', ...there.slice(1)], options);
      }
    }
  }

  #change(program: 'lvcreate' | 'lvextend' | 'lvremove', args: readonly string[]): void {
    const option = (name: string): string | undefined =>
      args.includes(name) ? args[args.indexOf(name) + 1] : undefined;
    const last = args.at(-1)?.split('/').at(-1) ?? '';
    if (program === 'lvremove') {
      execFileSync('losetup', ['-d', this.deviceOf(last)]);
      this.#loops.delete(last);
      if (this.#hasNodes) rmSync(join('/dev', this.group, last));
      this.volumes.delete(last);
      return;
    }
    const bytes = Math.ceil(Number.parseInt(option('--size') ?? option('--virtualsize') ?? '0', 10) / EXTENT) * EXTENT;
    if (program === 'lvextend') {
      this.volumes.set(last, { ...this.#get(last), sizeBytes: bytes });
      return;
    }
    const about = { name: option('--name') ?? '', tag: option('--addtag') ?? '' };
    const pool = option('--thinpool');
    if (!args.includes('--snapshot')) {
      return this.add({
        ...about,
        sizeBytes: bytes,
        type: pool === undefined ? 'linear' : 'thin',
        ...(pool && { pool }),
      });
    }
    const { sizeBytes, type, pool: inPool } = this.#get(last);
    const kind = type === 'thin' ? 'thin' : 'snapshot';
    this.volumes.set(about.name, { ...about, sizeBytes, origin: last, type: kind, ...(inPool && { pool: inPool }) });
  }

  #get(name: string): FakeVolume {
    const found = this.volumes.get(name);
    if (found === undefined) throw new Error(`no volume ${name}`);
    return found;
  }
}

function rowOf(
  group: string,
  { name, sizeBytes, type, pool, origin, tag, dataPercent }: FakeVolume,
): Readonly<Record<string, string>> {
  return {
    vg_name: group,
    lv_name: name,
    lv_path: type === 'thin-pool' ? '' : `/dev/${group}/${name}`,
    lv_dm_path: `/dev/mapper/${group}-${name.replaceAll('-', '--')}`,
    // As the real one says it: of a snapshot, what its changes are kept in.
    lv_size: String(type === 'snapshot' ? 2 * sizeBytes : sizeBytes),
    segtype: type === 'snapshot' ? 'linear' : type,
    pool_lv: pool ?? '',
    origin: origin ?? '',
    data_percent: dataPercent === undefined ? '' : dataPercent.toFixed(2),
    metadata_percent: '',
    lv_tags: tag ?? '',
  };
}
