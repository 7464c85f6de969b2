import { formatDuration } from '../../shared/domain/duration.js';

/** One VM of an operation. */
interface Job {
  readonly vm: string;
  readonly host: string;
  message: string;
  percent: number | undefined;
}

export interface Counts {
  readonly done: number;
  readonly failed: number;
  /** Of those that the plan tells; 0 where it tells none. */
  readonly left: number;
}

const NAME_WIDTH = 24;

/** What is known of an operation on many VMs while it goes on, and how it is shown in a few lines; pure. */
export class ProgressBoard {
  private readonly startMs: number;
  private readonly waiting = new Set<string>();
  private readonly working = new Map<string, Job>();
  private done = 0;
  private failed = 0;
  private isPlanned = false;

  constructor(startMs: number) {
    this.startMs = startMs;
  }

  /** Names of VMs, as NAME@HOST. */
  planned(names: Iterable<string>): void {
    this.isPlanned = true;
    for (const name of names) this.waiting.add(name);
  }

  /** @returns whether it says something new, but for the percentage */
  step(name: string, message: string, percent: number | undefined): boolean {
    this.waiting.delete(name);
    const job = this.working.get(name);
    const isNew = job?.message !== message;
    const at = name.lastIndexOf('@');
    const fresh = { vm: name, host: name.slice(at + 1), message, percent };
    if (job) Object.assign(job, fresh);
    else this.working.set(name, fresh);
    return isNew;
  }

  result(name: string, isDone: boolean): void {
    this.waiting.delete(name);
    this.working.delete(name);
    if (isDone) this.done += 1;
    else this.failed += 1;
  }

  counts(): Counts {
    return { done: this.done, failed: this.failed, left: this.waiting.size + this.working.size };
  }

  elapsedMs(nowMs: number): number {
    return nowMs - this.startMs;
  }

  /** A line for each VM under way; where those are more than `rows`, for each host. The last line counts. */
  lines(rows: number, nowMs: number): readonly string[] {
    const most = Math.max(0, rows - 1);
    const jobs = [...this.working.values()];
    const lines = jobs.length <= most ? jobs.map(jobLine) : hostLines(jobs);
    return [...shorten(lines, most), this.summary(nowMs)];
  }

  private summary(nowMs: number): string {
    const { done, failed, left } = this.counts();
    const elapsed = formatDuration(Math.max(0, Math.floor(this.elapsedMs(nowMs) / 1_000)) * 1_000);
    return [
      `${String(done)} done`,
      `${String(failed)} failed`,
      ...(this.isPlanned ? [`${String(left)} left`] : []),
      elapsed,
    ].join(', ');
  }
}

function jobLine({ vm, message, percent }: Job): string {
  return `${vm.padEnd(NAME_WIDTH)}  ${percentText(percent)}  ${message}`;
}

function hostLines(jobs: readonly Job[]): readonly string[] {
  const hosts = new Map<string, Job[]>();
  for (const job of jobs) {
    const group = hosts.get(job.host);
    if (group) group.push(job);
    else hosts.set(job.host, [job]);
  }
  return [...hosts].map(([host, group]) => {
    const known = group.flatMap(({ percent }) => percent ?? []);
    const mean = known.length === 0 ? undefined : known.reduce((sum, percent) => sum + percent, 0) / known.length;
    const [first] = group;
    const what = group.length === 1 ? (first?.message ?? '') : `${String(group.length)} VMs under way`;
    return `${host.padEnd(NAME_WIDTH)}  ${percentText(mean)}  ${what}`;
  });
}

function percentText(percent: number | undefined): string {
  return percent === undefined ? '     ' : `${String(Math.floor(percent)).padStart(3)} %`;
}

function shorten(lines: readonly string[], most: number): readonly string[] {
  if (lines.length <= most) return lines;
  if (most === 0) return [];
  return [...lines.slice(0, most - 1), `and ${String(lines.length - most + 1)} more`];
}
