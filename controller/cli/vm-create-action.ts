import { parseLabels } from '../../shared/domain/label.js';
import type { Storage, VmShape } from '../../shared/domain/vm-shape.js';
import { notFound } from '../../shared/errors.js';
import { Placement, VmServiceClient, type CreateVmsRequest } from '../../shared/gen/domherd/v1/vm.js';
import { callUnary } from '../../shared/grpc/client.js';
import { shapeToWire } from '../../shared/grpc/vm-shape.js';
import { followCreate } from './create-follow.js';
import { withClient } from './connection.js';
import { userKeys, type KeyOptions } from './guest/user-key.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { vmName } from './view/vm-view.js';

export interface CreateOptions extends KeyOptions {
  readonly like?: string;
  readonly count?: number | 'max';
  readonly on?: readonly string[];
  readonly pack?: boolean;
  /** Of a label; `true`: those of this request. */
  readonly apart?: string | true;
  readonly label?: readonly string[];
  readonly start?: boolean;
  readonly memory?: number;
  readonly vcpus?: number;
  readonly storage?: Storage;
  readonly disk?: number;
  readonly swap?: number;
  readonly extraDisk?: readonly number[];
  readonly reservation?: string;
  readonly bridge?: string;
  readonly dryRun?: boolean;
}

export async function createVms(
  call: Invocation,
  [name = '']: readonly string[],
  options: CreateOptions,
): Promise<number> {
  return followCreate(call, await createRequest(call, name, options));
}

export async function createRequest(call: Invocation, name: string, options: CreateOptions): Promise<CreateVmsRequest> {
  const { count, apart } = options;
  const authorizedKeys = await userKeys(call, options);
  return {
    requestId: call.requestId,
    name,
    count: count === 'max' ? undefined : count,
    countMax: count === 'max',
    like: options.like ?? '',
    hosts: [...(options.on ?? [])],
    placement: options.pack ? Placement.PACK : Placement.SPREAD,
    apart: apart === true ? '' : apart,
    labels: { ...parseLabels(options.label ?? []) },
    shape: shapeToWire({ ...shapeOf(options), authorizedKeys }),
    reservation: options.reservation ?? '',
    bridge: options.bridge ?? '',
    start: options.start ?? false,
    dryRun: options.dryRun ?? false,
  };
}

function shapeOf({ memory, vcpus, storage, disk, swap, extraDisk }: CreateOptions): VmShape {
  return { memoryMib: memory, vcpus, storage, diskMib: disk, swapMib: swap, extraDisksMib: extraDisk };
}

/** Of one VM, wherever that is. */
export async function cloneVms(
  call: Invocation,
  [source = '', name = '']: readonly string[],
  options: CreateOptions,
): Promise<number> {
  const { vm } = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.get.bind(client), { name: source }, CALL),
  );
  if (vm === undefined) throw notFound(`the controller told nothing of VM ${source}`);
  return createVms(call, [name], { ...options, like: vmName(vm) });
}
