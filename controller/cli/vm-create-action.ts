import type { InstallerName } from '../../shared/domain/installer.js';
import { parseLabels } from '../../shared/domain/label.js';
import type { Bootloader, Storage, VmShape } from '../../shared/domain/vm-shape.js';
import { invalid, messageOf, notFound } from '../../shared/errors.js';
import type { ImageSource } from '../../shared/gen/domherd/v1/image.js';
import { Placement, VmServiceClient, VmState, type CreateVmsRequest } from '../../shared/gen/domherd/v1/vm.js';
import { callUnary } from '../../shared/grpc/client.js';
import { installerToWire } from '../../shared/grpc/make-source.js';
import { shapeToWire } from '../../shared/grpc/vm-shape.js';
import { followCreate } from './create-follow.js';
import { withClient } from './connection.js';
import { knownImage, sendImage, type ImageOptions } from './image-send.js';
import { bootOf, installerOf, refuseSource } from './create-source.js';
import { userKeys, type KeyOptions, type Note } from './guest/user-key.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { vmName } from './view/vm-view.js';
import { whileStopped } from './stop-source.js';

const MAX_USER_DATA = 1024 * 1024;

export interface CreateOptions extends KeyOptions, ImageOptions {
  readonly like?: string;
  /** A file of this machine, or a URL. */
  readonly image?: string;
  readonly installer?: InstallerName;
  readonly dist?: string;
  readonly mirror?: string;
  readonly tarball?: string;
  readonly cloudInit?: boolean;
  readonly userData?: string;
  readonly kernel?: string;
  readonly ramdisk?: string;
  readonly cmdline?: string;
  readonly bootloader?: Bootloader;
  readonly count?: number | 'max';
  readonly on?: readonly string[];
  readonly pack?: boolean;
  /** Of a label; `true`: those of this request. */
  readonly apart?: string | true;
  readonly label?: readonly string[];
  readonly start?: boolean;
  readonly autostart?: boolean;
  readonly memory?: number;
  readonly vcpus?: number;
  readonly storage?: Storage;
  readonly disk?: number;
  readonly swap?: number;
  readonly extraDisk?: readonly number[];
  /** Bridges. */
  readonly extraVif?: readonly string[];
  readonly reservation?: string;
  readonly bridge?: string;
  readonly dryRun?: boolean;
}

export async function createVms(
  call: Invocation,
  [name = '']: readonly string[],
  options: CreateOptions,
): Promise<number> {
  const { notes, note } = takeNotes();
  return followCreate(call, await createRequest(call, name, options, note), notes);
}

/** What is worth telling only of a request that is accepted. */
export function takeNotes(): { readonly notes: readonly string[]; readonly note: Note } {
  const notes: string[] = [];
  return { notes, note: (text) => void notes.push(text) };
}

export async function createRequest(
  call: Invocation,
  name: string,
  options: CreateOptions,
  note: Note,
): Promise<CreateVmsRequest> {
  const { count, apart } = options;
  refuseSource(options);
  const installer = installerOf(options);
  const boot = bootOf(options);
  const userData = await userDataOf(options);
  const authorizedKeys = await userKeys(call, options, note);
  const image = options.image === undefined ? undefined : await imageOf(call, options.image, options);
  return {
    requestId: call.requestId,
    name,
    count: count === 'max' ? undefined : count,
    countMax: count === 'max',
    like: options.like ?? '',
    hosts: [...(options.on ?? [])],
    placement: options.pack ? Placement.PACK : Placement.SPREAD,
    apart: apart === true ? '' : apart,
    names: [],
    labels: { ...parseLabels(options.label ?? []) },
    image,
    installer: installer && installerToWire(installer),
    shape: shapeToWire({ ...shapeOf(options), authorizedKeys, userData, boot }),
    reservation: options.reservation ?? '',
    bridge: options.bridge ?? '',
    start: options.start ?? false,
    autostart: options.autostart ?? false,
    dryRun: options.dryRun ?? false,
  };
}

function shapeOf({ memory, vcpus, storage, disk, swap, extraDisk, extraVif }: CreateOptions): VmShape {
  const disks = { diskMib: disk, swapMib: swap, extraDisksMib: extraDisk };
  return { memoryMib: memory, vcpus, storage, ...disks, extraVifs: extraVif };
}

async function userDataOf({ userData: path }: CreateOptions): Promise<string | undefined> {
  if (path === undefined) return undefined;
  const { readFile } = await import('node:fs/promises');
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    throw notFound(`the user data cannot be read: ${messageOf(error)}`, {
      path,
      hint: '--user-data is a file of this machine',
    });
  });
  if (text === '') throw invalid(`the user data ${path} is empty`);
  if (text.length > MAX_USER_DATA) throw invalid(`the user data ${path} is larger than 1 MiB`);
  return text;
}

async function imageOf(call: Invocation, source: string, options: CreateOptions): Promise<ImageSource> {
  // A plan moves no gigabytes.
  const get = options.dryRun === true ? knownImage : sendImage;
  const { sha256, sizeBytes, name } = await get(call, source, options);
  return { sha256, sizeBytes, name, cloudInit: options.cloudInit };
}

export interface CloneOptions extends CreateOptions {
  readonly stopSource?: boolean;
}

/** Of one VM, wherever that is. */
export async function cloneVms(
  call: Invocation,
  [source = '', name = '']: readonly string[],
  options: CloneOptions,
): Promise<number> {
  const { vm } = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.get.bind(client), { name: source, look: false }, CALL),
  );
  if (vm === undefined) throw notFound(`the controller told nothing of VM ${source}`);
  const like = vmName(vm);
  const { notes, note } = takeNotes();
  // Nothing is shut down for what is refused here.
  const request = await createRequest(call, name, { ...options, like }, note);
  const clone = (): Promise<number> => followCreate(call, request, notes);
  const isUp = vm.state !== VmState.STOPPED;
  return options.stopSource && isUp && !options.dryRun ? whileStopped(call, like, clone) : clone();
}
