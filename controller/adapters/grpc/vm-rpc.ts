import {
  Placement as WirePlacement,
  WaitCondition,
  type CreateVmsRequest,
  type SetVmsRequest,
  type Storage as WireStorage,
  type VmSelector,
  type VmServiceServer,
  type WaitCondition as WireCondition,
} from '../../../shared/gen/domherd/v1/vm.js';
import { checkLabelKey, checkLabels } from '../../../shared/domain/label.js';
import { isPattern } from '../../../shared/domain/name-pattern.js';
import { checkSetting } from '../../../shared/domain/vm-setting.js';
import { parseHostName } from '../../../shared/domain/name.js';
import type { Storage } from '../../../shared/domain/vm-shape.js';
import { invalid } from '../../../shared/errors.js';
import { imageSourceFromWire, installerFromWire } from '../../../shared/grpc/make-source.js';
import { shapeFromWire, storageFrom } from '../../../shared/grpc/vm-shape.js';
import type { ConsoleHub } from '../../services/console-hub.js';
import type { ImageService } from '../../services/image-service.js';
import type { SetRequest, VmChanger } from '../../services/vm-changer.js';
import type { VmAddresser } from '../../services/vm-addresser.js';
import type { CreateRequest, VmCreator } from '../../services/vm-creator.js';
import type { VmInspector } from '../../services/vm-inspector.js';
import type { VmLabeler } from '../../services/vm-labeler.js';
import type { CreateSource } from '../../services/vm-origin.js';
import type { VmDeleter } from '../../services/vm-deleter.js';
import type { VmMigrator } from '../../services/vm-migrator.js';
import type { VmRenamer } from '../../services/vm-renamer.js';
import type { VmProgress } from '../../services/vm-progress.js';
import type { VmQuery } from '../../services/vm-query.js';
import type { VmRestorer } from '../../services/vm-restorer.js';
import type { ToldAction, VerbRequest, VmService } from '../../services/vm-service.js';
import type { VmStarter } from '../../services/vm-starter.js';
import type { Timers } from '../../ports/timer.js';
import type { CallInfo, Handlers } from './call.js';
import { consoleHandlers } from './console-rpc.js';
import { integerFrom, missing, optionalTextFrom, optionalAddressFrom } from './convert.js';
import { eventToWire } from './convert-event.js';
import { lookToWire } from './convert-look.js';
import { planToWire } from './convert-plan.js';
import { progressToWire, selectorFrom, vmToWire, type LeaseWriter } from './convert-vm.js';
import type { VmProgress as WireProgress } from '../../../shared/gen/domherd/v1/vm.js';

export interface VmHandlersOptions {
  readonly query: VmQuery;
  readonly inspector: VmInspector;
  readonly addresser: VmAddresser;
  readonly starter: VmStarter;
  readonly restorer: VmRestorer;
  readonly creator: VmCreator;
  readonly images: Pick<ImageService, 'get'>;
  readonly deleter: VmDeleter;
  readonly migrator: VmMigrator;
  readonly renamer: VmRenamer;
  readonly labeler: VmLabeler;
  readonly service: VmService;
  readonly consoles: ConsoleHub;
  readonly changer: VmChanger;
  readonly timers: Timers;
  readonly writeLease: LeaseWriter;
}

const SHUTDOWN_SECONDS = 60;
/** The guest shuts down first, and a slow host needs a minute to make the domain anew. */
const REBOOT_SECONDS = 300;
const WAIT_SECONDS = 300;
const MAX_HOSTS = 1_000;
const MAX_VMS = 1_000;
const MAX_SETTINGS = 100;

export function vmHandlers(options: VmHandlersOptions): Handlers<VmServiceServer> {
  const { query, addresser, starter, restorer, creator, images, deleter, labeler, service, writeLease } = options;
  const tell = (progress: AsyncIterable<VmProgress>): AsyncIterable<WireProgress> => toWire(progress, writeLease);
  const order = (action: ToldAction, request: WireVerbRequest, { caller, signal }: CallInfo) =>
    tell(service.tell(action, verbRequestFrom(request), caller, signal));
  return {
    ...consoleHandlers(options.consoles, options.timers),
    list: ({ selector }) => {
      const wanted = selector && selectorFrom(selector, 'selector');
      return { vms: query.list(wanted).map((view) => vmToWire(view, writeLease)) };
    },
    get: async ({ name, look: isLookedAt }, { signal }) => {
      if (name === '') throw missing('name');
      if (!isLookedAt) return { vm: vmToWire(query.get(name), writeLease), look: undefined, lastErrors: [] };
      const { view, look, lastErrors } = await options.inspector.inspect(name, signal);
      return { vm: vmToWire(view, writeLease), look: lookToWire(look), lastErrors: lastErrors.map(eventToWire) };
    },
    address: (request, { caller, signal }) =>
      tell(
        addresser.address(
          {
            selector: selectorFrom(request.selector, 'selector'),
            reservation: request.reservation === '' ? undefined : request.reservation,
            address: optionalAddressFrom(request.address, 'address'),
            bridge: optionalTextFrom(request.bridge, 'bridge', 64),
            isDryRun: request.dryRun,
          },
          caller,
          signal,
        ),
      ),
    start: ({ selector, force, dryRun }, { caller, signal }) =>
      tell(starter.start({ selector: selectorFrom(selector, 'selector'), force, isDryRun: dryRun }, caller, signal)),
    shutdown: ({ timeoutSeconds, destroyAfter, ...request }, call) => {
      const seconds = secondsFrom(timeoutSeconds || SHUTDOWN_SECONDS, 3_600);
      return order({ kind: 'shutdown', timeoutSeconds: seconds, isDestroyedAfter: destroyAfter }, request, call);
    },
    destroy: (request, call) => order({ kind: 'destroy' }, request, call),
    reboot: ({ timeoutSeconds, ...request }, call) =>
      order({ kind: 'reboot', timeoutSeconds: secondsFrom(timeoutSeconds || REBOOT_SECONDS, 3_600) }, request, call),
    restart: ({ timeoutSeconds, destroyAfter, ...request }, { caller, signal }) => {
      const seconds = secondsFrom(timeoutSeconds || SHUTDOWN_SECONDS, 3_600);
      const how = { timeoutSeconds: seconds, isDestroyedAfter: destroyAfter };
      return tell(options.changer.restart({ ...verbRequestFrom(request), ...how }, caller, signal));
    },
    set: (request, { caller, signal }) => tell(options.changer.set(setRequestFrom(request), caller, signal)),
    setAutostart: ({ on, ...request }, { caller, signal }) =>
      tell(options.changer.setAutostart(verbRequestFrom(request), on, caller, signal)),
    pause: (request, call) => order({ kind: 'pause' }, request, call),
    unpause: (request, call) => order({ kind: 'unpause' }, request, call),
    restoreFiles: (request, { caller, signal }) =>
      tell(restorer.restoreFiles(verbRequestFrom(request), caller, signal)),
    create: (request, { caller, signal }) => {
      const hosts = [...query.selectHosts(request.hosts.slice(0, MAX_HOSTS + 1))];
      const wanted = createRequestFrom({ ...request, hosts });
      return tell(createOf(wanted, images, (known) => creator.create(known, caller, signal)));
    },
    cancelCreate: ({ createRequestId }) => ({
      vms: creator.cancel(textFrom(createRequestId, 'create_request_id', 64)),
    }),
    plan: (request, { caller }) => planToWire(creator.plan(createRequestFrom(request), caller)),
    setLabels: async ({ selector, set, remove }, { caller }) => {
      const changes = {
        ...Object.fromEntries(remove.map((key) => [checkLabelKey(key), undefined])),
        ...checkLabels(set),
      };
      const vms = await labeler.change(selectorFrom(selector, 'selector'), changes, caller);
      return { vms: vms.map((view) => vmToWire(view, writeLease)) };
    },
    migrate: ({ to, cold, timeoutSeconds, destroyAfter, storage, ...request }, { caller, signal }) => {
      const kept = movedStorageFrom(storage, cold);
      const wanted = {
        ...{ ...verbRequestFrom(request), storage: kept },
        ...{ to: parseHostName(textFrom(to, 'to', 128)), isCold: cold, isDestroyedAfter: destroyAfter },
        timeoutSeconds: secondsFrom(timeoutSeconds || SHUTDOWN_SECONDS, 3_600),
      };
      return tell(options.migrator.migrate(wanted, caller, signal));
    },
    rename: ({ vm, name, dryRun }, { caller, signal }) => {
      const wanted = { vm: textFrom(vm, 'vm', 400), name: textFrom(name, 'name', 128), isDryRun: dryRun };
      return tell(options.renamer.rename(wanted, caller, signal));
    },
    delete: (request, { caller, signal }) => tell(deleter.delete(verbRequestFrom(request), caller, signal)),
    wait: ({ selector, condition, timeoutSeconds }, { signal }) => {
      const timeoutMs = secondsFrom(timeoutSeconds || WAIT_SECONDS, 86_400) * 1000;
      const wanted = selectorFrom(selector, 'selector');
      return tell(service.wait({ selector: wanted, condition: conditionFrom(condition), timeoutMs }, signal));
    },
  };
}

function createRequestFrom(request: CreateVmsRequest): CreateRequest {
  const { hosts } = request;
  if (hosts.length > MAX_HOSTS) throw invalid(`hosts are more than ${MAX_HOSTS}`, { field: 'hosts' });
  return {
    name: request.names.length > 0 ? request.name : textFrom(request.name, 'name', 128),
    names: namesFrom(request),
    count: countFrom(request),
    source: sourceFrom(request),
    hosts: hosts.map((host) => (isPattern(host) ? host : parseHostName(host))),
    labels: checkLabels(request.labels),
    apart: request.apart === undefined || request.apart === '' ? request.apart : checkLabelKey(request.apart),
    isStarted: request.start,
    isAutostarted: request.autostart,
    placement: request.placement === WirePlacement.PACK ? 'pack' : 'spread',
    shape: shapeFromWire(request.shape),
    reservation: request.reservation === '' ? undefined : request.reservation,
    bridge: optionalTextFrom(request.bridge, 'bridge', 64),
    isDryRun: request.dryRun,
  };
}

function namesFrom({ names }: CreateVmsRequest): CreateRequest['names'] {
  if (names.length === 0) return undefined;
  if (names.length > MAX_VMS) throw invalid(`names are more than ${MAX_VMS}`, { field: 'names' });
  const twice = names.find((name, n) => names.indexOf(name) !== n);
  if (twice !== undefined) throw invalid(`name ${twice} comes twice`, { field: 'names' });
  return names;
}

function countFrom({ count, countMax }: CreateVmsRequest): CreateRequest['count'] {
  if (count === undefined) return countMax ? 'max' : undefined;
  if (countMax) throw invalid('count and count_max exclude each other', { field: 'count_max' });
  return integerFrom(count, 'count', 1, 1_000);
}

/** @throws {AppError} `invalid` unless it is exactly one */
function sourceFrom({ like, image, installer }: CreateVmsRequest): CreateSource {
  const given = [like === '' ? undefined : like, image, installer].filter((source) => source !== undefined);
  if (given.length > 1) {
    throw invalid('VMs are copies of a VM, made of an image or by an installer: one of them', { field: 'like' });
  }
  if (image !== undefined) return imageSourceFromWire(image);
  if (installer !== undefined) return installerFromWire(installer);
  return { kind: 'like', like: textFrom(like, 'like', 400) };
}

/** What is known of an image tells the controller, not who asks; a plan may be of one that it has not got yet. */
async function* createOf(
  request: CreateRequest,
  images: Pick<ImageService, 'get'>,
  create: (request: CreateRequest) => AsyncIterable<VmProgress>,
): AsyncGenerator<VmProgress> {
  const { source, isDryRun } = request;
  if (source.kind !== 'image' || isDryRun) {
    yield* create(request);
    return;
  }
  const { sizeBytes, name } = await images.get(source.sha256);
  yield* create({ ...request, source: { ...source, sizeBytes, name } });
}

function setRequestFrom({ memoryMib, vcpus, settings, ...request }: SetVmsRequest): SetRequest {
  if (memoryMib === 0 && vcpus === 0 && settings.length === 0)
    throw invalid('nothing is to be set', { field: 'settings' });
  if (settings.length > MAX_SETTINGS) throw invalid(`settings are more than ${MAX_SETTINGS}`, { field: 'settings' });
  return {
    ...verbRequestFrom(request),
    memoryMib: memoryMib === 0 ? undefined : integerFrom(memoryMib, 'memory_mib', 16, 1_048_576),
    vcpus: vcpus === 0 ? undefined : integerFrom(vcpus, 'vcpus', 1, 512),
    settings: settings.map(({ key, value }) => checkSetting({ key, value })),
  };
}

function textFrom(text: string, field: string, max: number): string {
  const given = optionalTextFrom(text, field, max);
  if (given === undefined) throw missing(field);
  return given;
}

async function* toWire(progress: AsyncIterable<VmProgress>, writeLease: LeaseWriter): AsyncGenerator<WireProgress> {
  for await (const each of progress) yield progressToWire(each, writeLease);
}

interface WireVerbRequest {
  readonly selector: VmSelector | undefined;
  readonly dryRun: boolean;
}

function verbRequestFrom({ selector, dryRun }: WireVerbRequest): VerbRequest {
  return { selector: selectorFrom(selector, 'selector'), isDryRun: dryRun };
}

/** Nothing of its new host has what a reflink or a snapshot is made of. */
function movedStorageFrom(wire: WireStorage, isCold: boolean): Storage | undefined {
  const storage = storageFrom(wire);
  if (storage !== undefined && !isCold) throw invalid('storage is of those that go cold', { field: 'storage' });
  if (storage === 'reflink' || storage === 'lvm-snapshot') {
    throw invalid(`storage is ${storage}: what comes from another host is kept as copy, lvm-thin or qcow2`, {
      field: 'storage',
    });
  }
  return storage;
}

function secondsFrom(seconds: number, max: number): number {
  return integerFrom(seconds, 'timeout_seconds', 1, max);
}

function conditionFrom(wire: WireCondition): 'running' | 'stopped' {
  if (wire === WaitCondition.RUNNING) return 'running';
  if (wire === WaitCondition.STOPPED) return 'stopped';
  throw invalid('condition is neither running nor stopped', { field: 'condition' });
}
