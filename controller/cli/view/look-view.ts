import type { Event } from '../../../shared/gen/domherd/v1/event.js';
import type { CfgSetting, VmDisk, VmLook } from '../../../shared/gen/domherd/v1/look.js';
import type { Vm } from '../../../shared/gen/domherd/v1/vm.js';
import { formatLocal } from '../local-time.js';
import { LogText } from '../log-text.js';
import { formatTable, type Column, type View } from '../output.js';
import { bytesText } from './bytes-text.js';
import { eventJson } from './event-view.js';
import { VM_VIEW, vmFields, vmJson, vmName } from './vm-view.js';

/** A VM with what its host told when it was asked, and what went wrong with it. */
export interface Inspected {
  readonly vm: Vm;
  readonly look: VmLook;
  /** The newest last. */
  readonly lastErrors: readonly Event[];
}

export interface BlockOptions {
  /** IANA name. */
  readonly timeZone: string;
  readonly hasHeaders: boolean;
  readonly isColoured: boolean;
}

export const NOTHING_SEEN: VmLook = { cfg: [], disks: [], consoleTail: Buffer.alloc(0), notKnown: [] };
/** One that never ends a line counts as its parts. */
const TAIL_LINES = 10;

export const INSPECTED_VIEW: View<Inspected> = {
  columns: [{ title: 'NAME', text: ({ vm }) => vmName(vm) }],
  json: inspectedJson,
  name: ({ vm }) => vmName(vm),
  addresses: ({ vm }) => VM_VIEW.addresses?.(vm) ?? [],
};

function inspectedJson({ vm, look, lastErrors }: Inspected): unknown {
  return {
    ...Object(vmJson(vm)),
    cfg: look.cfg.length === 0 ? null : Object.fromEntries(look.cfg.map(settingEntry)),
    disks: look.disks.map(diskJson),
    consoleTail: tailLines(look.consoleTail, false),
    lastErrors: lastErrors.map(eventJson),
    notKnown: look.notKnown,
  };
}

function settingEntry({ key, values, list }: CfgSetting): [string, unknown] {
  return [key, list ? values : (values[0] ?? '')];
}

function diskJson(disk: VmDisk): unknown {
  return {
    vdev: disk.vdev,
    target: disk.target,
    format: disk.format,
    readOnly: disk.readOnly,
    sizeBytes: Number(disk.sizeBytes) || null,
    usedBytes: disk.sizeBytes === 0n && disk.usedBytes === 0n ? null : Number(disk.usedBytes),
    origin: disk.origin,
    storage: disk.storage,
    problem: disk.problem,
  };
}

/** Of the VM, and a line for each part that its host did not tell. */
export function inspectedFields({ vm, look }: Inspected, timeZone: string): readonly Column<Inspected>[] {
  const own = vmFields(vm, timeZone).map(({ title, text, colour }): Column<Inspected> => ({
    title,
    text: ({ vm: row }) => text(row),
    ...(colour && { colour: ({ vm: row }) => colour(row) }),
  }));
  const missing = look.notKnown.map((reason): Column<Inspected> => ({
    title: 'Not known',
    text: () => reason,
    colour: () => 'yellow',
  }));
  return [...own, ...missing];
}

/** Disks, cfg, errors, console: each a table of its own behind an empty line, and none of what there is nothing of. */
export function inspectedBlocks({ vm, look, lastErrors }: Inspected, options: BlockOptions): string {
  const settings = look.cfg.flatMap(({ key, values, list }) =>
    (list && values.length === 0 ? ['[]'] : values).map((value, n) => ({ key: n === 0 ? key : '', value })),
  );
  const tail = tailLines(look.consoleTail, options.isColoured);
  return [
    table(look.disks, diskColumns(vm), options),
    table(settings, SETTING_COLUMNS, options),
    table(lastErrors, errorColumns(options.timeZone), options),
    tail.length === 0 ? '' : ['CONSOLE, its last lines', ...tail, ''].join('\n'),
  ]
    .filter((block) => block !== '')
    .map((block) => `\n${block}`)
    .join('');
}

function table<Row>(rows: readonly Row[], columns: readonly Column<Row>[], options: BlockOptions): string {
  return rows.length === 0 ? '' : formatTable(rows, columns, options.hasHeaders, options.isColoured);
}

function diskColumns({ simulated }: Vm): readonly Column<VmDisk>[] {
  const none = simulated ? 'simulated' : '-';
  return [
    { title: 'DISK', text: ({ vdev }) => vdev },
    { title: 'FORMAT', text: ({ format, readOnly }) => `${format}${readOnly ? ', read only' : ''}` },
    { title: 'SIZE', text: ({ sizeBytes }) => (sizeBytes === 0n ? none : bytesText(sizeBytes)) },
    {
      title: 'USED',
      text: ({ sizeBytes, usedBytes }) => (sizeBytes + usedBytes === 0n ? none : bytesText(usedBytes)),
    },
    { title: 'TARGET', text: ({ target }) => target || '-' },
    { title: 'NOTE', text: diskNote, colour: ({ problem }) => (problem === '' ? undefined : 'yellow') },
  ];
}

function diskNote({ storage, origin, problem }: VmDisk): string {
  const shared = origin === '' ? '' : `of ${origin}`;
  return [[storage, shared].filter((text) => text !== '').join(' '), problem].filter((text) => text !== '').join('; ');
}

const SETTING_COLUMNS: readonly Column<{ readonly key: string; readonly value: string }>[] = [
  { title: 'CFG KEY', text: ({ key }) => key },
  { title: 'VALUE', text: ({ value }) => value },
];

function errorColumns(timeZone: string): readonly Column<Event>[] {
  return [
    { title: 'LAST ERRORS', text: ({ at }) => (at ? formatLocal(at.getTime(), timeZone) : '-') },
    { title: 'KIND', text: ({ kind }) => kind },
    { title: 'MESSAGE', text: ({ message }) => message },
  ];
}

/** What a guest wrote, with nothing in it that a terminal would obey but colours, if those are welcome. */
function tailLines(bytes: Uint8Array, isColoured: boolean): readonly string[] {
  const log = new LogText(isColoured);
  const text = log.push(bytes) + log.end();
  return text.split('\n').slice(0, -1).slice(-TAIL_LINES);
}
