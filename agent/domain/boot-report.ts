import type { AutostartEntry, Hold, Refusal, VifOutcome } from './boot-plan.js';
import type { HostEvent } from './host-event.js';

/** What a boot step did, or with `isDryRun` would do. */
export interface BootReport {
  readonly isDryRun: boolean;
  readonly isNewDeployment: boolean;
  readonly vifs: readonly VifOutcome[];
  readonly refusals: readonly Refusal[];
  /** `heldAt` is `undefined` in a dry run. */
  readonly holds: readonly (Hold & { readonly heldAt: string | undefined })[];
  /** What went wrong and stopped nothing. */
  readonly warnings: readonly string[];
}

/** One JSON array, one record a line: greppable, and a program's to parse. */
export function formatBootJson(report: BootReport): string {
  const vifs = report.vifs.map((vif) => ({ kind: 'vif', ...vif, old: vif.old ?? null }));
  const refusals = report.refusals.map((refusal) => ({ kind: 'refused', ...refusal }));
  const holds = report.holds.map(({ path, reason, heldAt, kind: what }) => {
    return { kind: 'held', file: path, what, heldAt: heldAt ?? null, reason };
  });
  const lines = [...vifs, ...refusals, ...holds].map((record) => `  ${JSON.stringify(record)}`);
  return lines.length === 0 ? '[]\n' : `[\n${lines.join(',\n')}\n]\n`;
}

/** For people: what changed, what is refused and held, and the sum of it. What was kept is counted only. */
export function formatBootText(report: BootReport): string {
  const changed = report.vifs.filter(isChanged);
  const lines = [
    ...changed.map((vif) => `${vif.file} vif ${vif.vif}: ${vif.old ?? 'none'} -> ${vif.new} (${vif.reason})`),
    ...report.refusals.map(({ file, reason }) => `${file}: refused, left as it is: ${reason}`),
    ...report.holds.map(
      ({ path, reason, heldAt }) => `${path}: held back: ${reason}${heldAt ? `; now ${heldAt}` : ''}`,
    ),
    `${count(report.vifs.length, 'vif')}: ${count(changed.length, 'new MAC')}, ${report.vifs.length - changed.length} kept; ` +
      `${count(report.refusals.length, 'file')} refused, ${report.holds.length} held back`,
    ...(report.isDryRun ? ['dry run: nothing was written; the random MACs of a real run will be others'] : []),
    ...(!report.isDryRun && report.holds.length > 0 ? ['domherd-agent release puts back what is held'] : []),
  ];
  return `${lines.join('\n')}\n`;
}

/** What the controller is to hear of it, once it can be reached. */
export function bootEvents(report: BootReport, autostart: readonly AutostartEntry[]): readonly HostEvent[] {
  const changed = report.vifs.filter(isChanged);
  const fileOf = new Map(autostart.map(({ path, file }) => [path, file]));
  return [
    ...(report.isNewDeployment ? [deployedEvent(changed.length, report.holds.length)] : []),
    ...changed.map(macEvent),
    ...report.holds.map(({ path, kind, reason }): HostEvent => {
      const message = `the boot step held ${path} back from xendomains: ${reason}`;
      return { kind: 'vm.held', message, vmKey: fileOf.get(path), details: { path, what: kind, reason } };
    }),
  ];
}

function deployedEvent(newMacs: number, held: number): HostEvent {
  const message = `the boot step found a new deployment: ${count(newMacs, 'new MAC')}, ${held} held back from xendomains`;
  return { kind: 'host.deployed', message, vmKey: undefined, details: { newMacs: `${newMacs}`, held: `${held}` } };
}

function macEvent({ file, vif, old, new: mac, reason }: VifOutcome): HostEvent {
  const message = `the boot step gave vif ${vif} of ${file} the MAC ${mac}, before: ${old ?? 'none'} (${reason})`;
  return {
    kind: 'vm.mac-changed',
    message,
    vmKey: file,
    details: { file, vif: `${vif}`, old: old ?? '', new: mac, reason },
  };
}

function isChanged(vif: VifOutcome): boolean {
  return vif.old !== vif.new;
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`;
}
