import { ERROR_CODES } from '../../shared/errors.js';
import { EXIT_CODE } from '../../shared/exit-code.js';
import { VmServiceClient, type PlanVmsResponse } from '../../shared/gen/domherd/v1/vm.js';
import { callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import { hintOf } from './failure.js';
import type { Invocation } from './invocation.js';
import { LONG_CALL } from './limit.js';
import { printRows, tell } from './output.js';
import { PLAN_VIEW } from './view/plan-view.js';
import { createRequest, type CreateOptions } from './vm-create-action.js';

/** @returns the exit code that the create would have if it were refused */
export async function planVms(
  call: Invocation,
  [name = '']: readonly string[],
  options: CreateOptions,
): Promise<number> {
  const request = await createRequest(call, name, { ...options, keys: false, dryRun: true }, () => undefined);
  const plan = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.plan.bind(client), request, LONG_CALL),
  );
  printRows(call, plan.hosts, PLAN_VIEW);
  return tellOutcome(call, plan);
}

function tellOutcome(call: Invocation, plan: PlanVmsResponse): number {
  const { wanted, fits, reservation, freeAddresses, problem, problemDetails } = plan;
  if (problem === '') {
    const addresses = `${String(freeAddresses)} addresses are free in ${reservation}`;
    tell(call, `${String(wanted)} would be made; there is room for ${String(fits)}, and ${addresses}`);
    return 0;
  }
  const code = ERROR_CODES.find((known) => known === plan.problemCode) ?? 'internal';
  tell(call, `they cannot be made: ${problem}`);
  tell(call, `hint: ${hintOf(code, problemDetails)}`);
  return EXIT_CODE[code];
}
