import {
  WaitCondition,
  type VmServiceServer,
  type WaitCondition as WireCondition,
} from '../../../shared/gen/domherd/v1/vm.js';
import { invalid } from '../../../shared/errors.js';
import type { VmAddresser } from '../../services/vm-addresser.js';
import type { VmProgress } from '../../services/vm-progress.js';
import type { VmQuery } from '../../services/vm-query.js';
import type { VmService } from '../../services/vm-service.js';
import type { VmStarter } from '../../services/vm-starter.js';
import type { Handlers } from './call.js';
import { integerFrom, missing, optionalTextFrom, optionalAddressFrom } from './convert.js';
import { progressToWire, selectorFrom, vmToWire, type LeaseWriter } from './convert-vm.js';
import type { VmProgress as WireProgress } from '../../../shared/gen/domherd/v1/vm.js';

export interface VmHandlersOptions {
  readonly query: VmQuery;
  readonly addresser: VmAddresser;
  readonly starter: VmStarter;
  readonly service: VmService;
  readonly writeLease: LeaseWriter;
}

const SHUTDOWN_SECONDS = 60;
/** The guest shuts down first, and a slow host needs a minute to make the domain anew. */
const REBOOT_SECONDS = 300;
const WAIT_SECONDS = 300;

export function vmHandlers(options: VmHandlersOptions): Handlers<VmServiceServer> {
  const { query, addresser, starter, service, writeLease } = options;
  const tell = (progress: AsyncIterable<VmProgress>): AsyncIterable<WireProgress> => toWire(progress, writeLease);
  return {
    list: ({ selector }) => {
      const wanted = selector && selectorFrom(selector, 'selector');
      return { vms: query.list(wanted).map((view) => vmToWire(view, writeLease)) };
    },
    get: ({ name }) => {
      if (name === '') throw missing('name');
      return { vm: vmToWire(query.get(name), writeLease) };
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
    shutdown: ({ selector, timeoutSeconds, dryRun, destroyAfter }, { caller, signal }) => {
      const seconds = integerFrom(timeoutSeconds || SHUTDOWN_SECONDS, 'timeout_seconds', 1, 3_600);
      const wanted = selectorFrom(selector, 'selector');
      const request = { timeoutSeconds: seconds, isDestroyedAfter: destroyAfter, isDryRun: dryRun };
      return tell(service.shutdown({ selector: wanted, ...request }, caller, signal));
    },
    destroy: ({ selector, dryRun }, { caller, signal }) =>
      tell(service.destroy({ selector: selectorFrom(selector, 'selector'), isDryRun: dryRun }, caller, signal)),
    reboot: ({ selector, timeoutSeconds, dryRun }, { caller, signal }) => {
      const seconds = integerFrom(timeoutSeconds || REBOOT_SECONDS, 'timeout_seconds', 1, 3_600);
      const wanted = selectorFrom(selector, 'selector');
      return tell(service.reboot({ selector: wanted, timeoutSeconds: seconds, isDryRun: dryRun }, caller, signal));
    },
    pause: ({ selector, dryRun }, { caller, signal }) =>
      tell(service.pause({ selector: selectorFrom(selector, 'selector'), isDryRun: dryRun }, caller, signal)),
    unpause: ({ selector, dryRun }, { caller, signal }) =>
      tell(service.unpause({ selector: selectorFrom(selector, 'selector'), isDryRun: dryRun }, caller, signal)),
    wait: ({ selector, condition, timeoutSeconds }, { signal }) => {
      const timeoutMs = integerFrom(timeoutSeconds || WAIT_SECONDS, 'timeout_seconds', 1, 86_400) * 1000;
      const wanted = selectorFrom(selector, 'selector');
      return tell(service.wait({ selector: wanted, condition: conditionFrom(condition), timeoutMs }, signal));
    },
  };
}

async function* toWire(progress: AsyncIterable<VmProgress>, writeLease: LeaseWriter): AsyncGenerator<WireProgress> {
  for await (const each of progress) yield progressToWire(each, writeLease);
}

function conditionFrom(wire: WireCondition): 'running' | 'stopped' {
  if (wire === WaitCondition.RUNNING) return 'running';
  if (wire === WaitCondition.STOPPED) return 'stopped';
  throw invalid('condition is neither running nor stopped', { field: 'condition' });
}
