import { notFound } from '../../shared/errors.js';
import { VmServiceClient } from '../../shared/gen/domherd/v1/vm.js';
import { callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printOne, printRows, tell } from './output.js';
import { VM_VIEW, vmFields } from './view/vm-view.js';

export async function listVms(call: Invocation, names: readonly string[]): Promise<number> {
  const request = { selector: { names: [...names], all: names.length === 0 } };
  const { vms } = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.list.bind(client), request, CALL),
  );
  printRows(call, vms, VM_VIEW);
  if (vms.length === 0 && call.format === 'table') tell(call, 'no VMs; see the hosts: domherd host list');
  return 0;
}

export async function showVm(call: Invocation, name: string): Promise<number> {
  const { vm } = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.get.bind(client), { name }, CALL),
  );
  if (vm === undefined) throw notFound(`the controller told nothing of VM ${name}`);
  printOne(call, vm, VM_VIEW, vmFields(call.world.timeZone()));
  return 0;
}
