import { invalid, notFound } from '../../shared/errors.js';
import { ControllerServiceClient } from '../../shared/gen/domherd/v1/controller.js';
import { VmServiceClient } from '../../shared/gen/domherd/v1/vm.js';
import { callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import { isData, isTable, type OutputFormat } from './format.js';
import { selectVms, withLease } from './guest/guest-ssh.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printOne, printRows, tell } from './output.js';
import { wantsColour } from './terminal-text.js';
import {
  ansibleInventory,
  ansibleScriptJson,
  dnsmasqConf,
  hostsFile,
  nodeSet,
  type Exported,
} from './view/vm-export.js';
import { INSPECTED_VIEW, inspectedBlocks, inspectedFields, NOTHING_SEEN } from './view/look-view.js';
import { VM_VIEW } from './view/vm-view.js';

export interface ListOptions {
  /** As Ansible calls an inventory script. */
  readonly list?: boolean;
}

const EXPORTS: ReadonlyMap<OutputFormat, (vms: readonly Exported[]) => string> = new Map<
  OutputFormat,
  (vms: readonly Exported[]) => string
>([
  ['ansible', ansibleInventory],
  ['hosts', hostsFile],
  ['nodeset', nodeSet],
  ['dnsmasq', dnsmasqConf],
]);

export async function listVms(call: Invocation, names: readonly string[], options: ListOptions): Promise<number> {
  const selector = { names: [...names], all: names.length === 0 };
  const write = EXPORTS.get(call.format);
  if (write) return exportVms(call, await selectVms(call, selector), options.list ? ansibleScriptJson : write);
  if (options.list) throw invalid('--list is for -o ansible', { hint: 'domherd vm list -o ansible --list' });
  const request = { selector };
  const { vms } = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.list.bind(client), request, CALL),
  );
  printRows(call, vms, VM_VIEW);
  if (!isTable(call.format)) return 0;
  if (vms.length === 0) tell(call, 'no VMs; see the hosts: domherd host list');
  await tellConflicts(call);
  return 0;
}

function exportVms(call: Invocation, vms: readonly Exported[], write: (vms: readonly Exported[]) => string): number {
  call.world.stdout.write(write(withLease(call, vms)));
  return 0;
}

/** A table looks the same with a MAC twice in it as without. */
async function tellConflicts(call: Invocation): Promise<void> {
  const { conflicts } = await withClient(call, ControllerServiceClient, (client) =>
    callUnary(client.listConflicts.bind(client), {}, CALL),
  );
  if (conflicts.length === 0) return;
  const count = conflicts.length === 1 ? '1 conflict' : `${String(conflicts.length)} conflicts`;
  const active = conflicts.filter((conflict) => conflict.active).length;
  const urgency = active === 0 ? '' : `, ${String(active)} of them now on the wire`;
  tell(call, `${count}${urgency}: domherd conflict list`);
}

export async function showVm(call: Invocation, name: string): Promise<number> {
  const isRead = isTable(call.format) || isData(call.format);
  const { vm, look, lastErrors } = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.get.bind(client), { name, look: isRead }, CALL),
  );
  if (vm === undefined) throw notFound(`the controller told nothing of VM ${name}`);
  const seen = { vm, look: look ?? NOTHING_SEEN, lastErrors };
  const { world, global } = call;
  printOne(call, seen, INSPECTED_VIEW, inspectedFields(seen, world.timeZone()));
  if (!isTable(call.format)) return 0;
  const isColoured = wantsColour(world.stdout, world.env);
  world.stdout.write(inspectedBlocks(seen, { timeZone: world.timeZone(), hasHeaders: global.headers, isColoured }));
  return 0;
}
