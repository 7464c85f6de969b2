import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import { invalid, messageOf } from '../../../shared/errors.js';
import { EXIT_CODE } from '../../../shared/exit-code.js';
import { VmServiceClient } from '../../../shared/gen/domherd/v1/vm.js';
import { callStream, callUnary } from '../../../shared/grpc/client.js';
import { confirm } from '../confirm.js';
import { withClient } from '../connection.js';
import { followCreate } from '../create-follow.js';
import type { Invocation } from '../invocation.js';
import { CALL } from '../limit.js';
import { printRows, tell } from '../output.js';
import { FLEET_VIEW } from '../view/fleet-view.js';
import { vmName, vmStateText } from '../view/vm-view.js';
import { createRequest, takeNotes } from '../vm-create-action.js';
import { showProgress } from '../vm-progress.js';
import { diffFleet, labelsOf, type FleetChange, type PresentVm } from './fleet-diff.js';
import { parseFleetFile, type FleetFile } from './fleet-file.js';

export interface FleetOptions {
  /** `-`: stdin. */
  readonly file: string;
  readonly prune?: boolean;
  readonly yes?: boolean;
}

/** A guest that ignores the request is destroyed: it is to be removed. */
const STOP_SECONDS = 60;

/** @returns 0, whether there is anything to do or not */
export async function diffFleetFile(call: Invocation, options: FleetOptions): Promise<number> {
  const { changes } = await readDiff(call, options);
  printRows(call, changes, FLEET_VIEW);
  if (changes.length === 0) tell(call, 'everything is as the file says');
  return 0;
}

/** @returns the exit code: 0, or `partial` when not everything came to be as the file says */
export async function applyFleetFile(call: Invocation, options: FleetOptions): Promise<number> {
  const { file, changes } = await readDiff(call, options);
  for (const change of changes) tell(call, FLEET_VIEW.columns.map(({ text }) => text(change)).join(' '));
  if (changes.length === 0) {
    tell(call, 'everything is as the file says');
    return 0;
  }
  const doomed = changes.flatMap((change) => (change.kind === 'remove' ? [change.vm] : []));
  if (doomed.length > 0) await confirm(call, `remove ${doomed.join(' ')}, with their disks`, options.yes);
  return new Applier(call, file).apply(changes);
}

async function readDiff(
  call: Invocation,
  { file: path, prune = false }: FleetOptions,
): Promise<{ readonly file: FleetFile; readonly changes: readonly FleetChange[] }> {
  const file = parseFleetFile(await readText(call, path), path === '-' ? 'stdin' : path);
  const { vms } = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.list.bind(client), { selector: undefined }, CALL),
  );
  const present = vms.map((vm): PresentVm => ({ ...vm, label: vmName(vm), state: vmStateText(vm) }));
  return { file, changes: diffFleet(file, present, prune) };
}

async function readText(call: Invocation, path: string): Promise<string> {
  if (path === '-') return readAll(call.world.stdin);
  return readFile(path, 'utf8').catch((error: unknown) => {
    throw invalid(`${path} cannot be read: ${messageOf(error)}`, { hint: 'give -f a file, or - for stdin' });
  });
}

class Applier {
  private readonly call: Invocation;
  private readonly file: FleetFile;
  private readonly exitCodes = new Set<number>();

  constructor(call: Invocation, file: FleetFile) {
    this.call = call;
    this.file = file;
  }

  /**
   * New ones first, what is taken away last: whatever fails on the way leaves more rather than less. Sizes between stops and
   * starts: then they need no restart.
   */
  async apply(changes: readonly FleetChange[]): Promise<number> {
    for (const change of changes) {
      if (change.kind === 'create') await this.create(change);
      if (change.kind === 'label') await this.label(change);
      if (this.call.world.signal.aborted) break;
    }
    const of = (kind: FleetChange['kind']): string[] =>
      changes.flatMap((change) => (change.kind === kind && change.kind !== 'create' ? [change.vm] : []));
    await this.stop(of('stop'));
    for (const same of alike(changes)) await this.set(same);
    for (const isOn of [true, false]) await this.setAutostart(changes, isOn);
    await this.order(of('start'), (client, base) =>
      callStream(client.start.bind(client), { ...base, force: false }, this.limits()),
    );
    await this.stop(changes.flatMap((change) => (change.kind === 'remove' && change.isRunning ? [change.vm] : [])));
    await this.order(of('remove'), (client, base) => callStream(client.delete.bind(client), base, this.limits()));
    const [only, ...more] = this.exitCodes;
    return more.length > 0 ? EXIT_CODE.partial : (only ?? 0);
  }

  private async create({ group, names }: Extract<FleetChange, { kind: 'create' }>): Promise<void> {
    const { call, file } = this;
    // One intent of its own: when the file is applied again, what is missing then is another one.
    const own = { ...call, requestId: call.world.newId() };
    const { notes, note } = takeNotes();
    const options = { ...group.options, start: group.isStarted ?? false };
    const request = await createRequest(own, group.name, options, note);
    const labels = { ...labelsOf(file, group) };
    this.exitCodes.add(await followCreate(own, { ...request, names: [...names], labels }, notes, continueLine(call)));
  }

  private async label({ vm, set }: Extract<FleetChange, { kind: 'label' }>): Promise<void> {
    const request = { requestId: this.call.world.newId(), ...selected([vm]), set: { ...set }, remove: [] };
    await withClient(this.call, VmServiceClient, (client) => callUnary(client.setLabels.bind(client), request, CALL));
    this.exitCodes.add(0);
  }

  private set([first, ...more]: readonly SetChange[]): Promise<void> {
    if (first === undefined) return Promise.resolve();
    const { memory = 0, vcpus = 0 } = first.sizes;
    const names = [first, ...more].map(({ vm }) => vm);
    return this.order(names, (client, base) =>
      callStream(client.set.bind(client), { ...base, memoryMib: memory, vcpus, settings: [] }, this.limits()),
    );
  }

  private setAutostart(changes: readonly FleetChange[], on: boolean): Promise<void> {
    const names = changes.flatMap((change) => (change.kind === 'autostart' && change.isOn === on ? [change.vm] : []));
    return this.order(names, (client, base) =>
      callStream(client.setAutostart.bind(client), { ...base, on }, this.limits()),
    );
  }

  private stop(names: readonly string[]): Promise<void> {
    return this.order(names, (client, base) =>
      callStream(
        client.shutdown.bind(client),
        { ...base, timeoutSeconds: STOP_SECONDS, destroyAfter: true },
        this.limits(),
      ),
    );
  }

  private async order(
    names: readonly string[],
    send: (client: VmServiceClient, base: OrderBase) => Parameters<typeof showProgress>[1],
  ): Promise<void> {
    const { call } = this;
    if (names.length === 0 || call.world.signal.aborted) return;
    const base = { requestId: call.world.newId(), ...selected(names), dryRun: false };
    this.exitCodes.add(
      await withClient(call, VmServiceClient, (client) => showProgress(call, send(client, base), false)),
    );
  }

  private limits(): { readonly signal: AbortSignal } {
    return { signal: this.call.world.signal };
  }
}

type SetChange = Extract<FleetChange, { kind: 'set' }>;

/** One order for all that get the same. */
function alike(changes: readonly FleetChange[]): readonly (readonly SetChange[])[] {
  const found = new Map<string, SetChange[]>();
  for (const change of changes) {
    if (change.kind !== 'set') continue;
    const { memory = 0, vcpus = 0 } = change.sizes;
    const key = `${String(memory)} ${String(vcpus)}`;
    found.set(key, [...(found.get(key) ?? []), change]);
  }
  return [...found.values()];
}

type OrderBase = ReturnType<typeof selected> & { requestId: string; dryRun: boolean };

function selected(names: readonly string[]): { selector: { names: string[]; all: boolean } } {
  return { selector: { names: [...names], all: false } };
}

/** Applying is idempotent: the same again continues. */
function continueLine({ line }: Invocation): readonly string[] {
  return line;
}
