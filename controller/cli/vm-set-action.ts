import { parseSetting, type VmSetting } from '../../shared/domain/vm-setting.js';
import { invalid } from '../../shared/errors.js';
import { VmServiceClient } from '../../shared/gen/domherd/v1/vm.js';
import { callStream } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { parseCount } from './option.js';
import { selectorOf } from './selection.js';
import { secondsOf, type ShutdownOptions } from './vm-order-action.js';
import { showProgress } from './vm-progress.js';

export interface AutostartOptions {
  readonly all?: boolean;
  readonly dryRun?: boolean;
}

export interface SetOptions extends AutostartOptions {
  readonly memory?: number;
  readonly vcpus?: number;
}

export type RestartOptions = ShutdownOptions;

export async function setVms(call: Invocation, args: readonly string[], options: SetOptions): Promise<number> {
  const parsed = args.map((text) => ({ text, setting: parseSetting(text) }));
  const given = parsed.flatMap(({ setting }) => setting ?? []);
  const names = parsed.flatMap(({ text, setting }) => (setting ? [] : [text]));
  const memoryMib = sizeOf('memory', given, options.memory, 16, 1_048_576);
  const vcpus = sizeOf('vcpus', given, options.vcpus, 1, 512);
  const settings = given.filter(({ key }) => key !== 'memory' && key !== 'vcpus');
  if (memoryMib === 0 && vcpus === 0 && settings.length === 0) {
    throw invalid('nothing is to be set', { hint: 'as in: domherd vm set web-7 memory=512' });
  }
  const twice = settings.find(({ key }, n) => settings.findIndex((other) => other.key === key) !== n);
  if (twice) throw invalid(`${twice.key} is given twice`, { hint: 'leave one of them out' });
  const dryRun = options.dryRun ?? false;
  const selector = selectorOf(names, options.all);
  const request = { requestId: call.requestId, selector, dryRun, memoryMib, vcpus, settings };
  return withClient(call, VmServiceClient, (client) =>
    showProgress(call, callStream(client.set.bind(client), request, { signal: call.world.signal }), dryRun),
  );
}

/** As KEY=VALUE or as an option. @returns 0: neither */
function sizeOf(
  key: string,
  settings: readonly VmSetting[],
  option: number | undefined,
  min: number,
  max: number,
): number {
  const [text, other] = settings.filter((setting) => setting.key === key).map(({ value }) => value);
  if (other !== undefined || (text !== undefined && option !== undefined)) {
    throw invalid(`${key} is given twice`, { hint: 'leave one of them out' });
  }
  if (text === undefined) return option ?? 0;
  try {
    return parseCount(text, min, max);
  } catch {
    throw invalid(`${key} is "${text}": a whole number of ${String(min)} to ${String(max)} is expected`, { key });
  }
}

export async function restartVms(call: Invocation, names: readonly string[], options: RestartOptions): Promise<number> {
  const dryRun = options.dryRun ?? false;
  const request = {
    requestId: call.requestId,
    selector: selectorOf(names, options.all),
    timeoutSeconds: secondsOf(options.timeout),
    destroyAfter: options.then === 'destroy',
    dryRun,
  };
  return withClient(call, VmServiceClient, (client) =>
    showProgress(call, callStream(client.restart.bind(client), request, { signal: call.world.signal }), dryRun),
  );
}

export async function setAutostart(
  call: Invocation,
  [state = '', ...names]: readonly string[],
  options: AutostartOptions,
): Promise<number> {
  if (state !== 'on' && state !== 'off') {
    throw invalid(`"${state}" is neither on nor off`, { hint: 'as in: domherd vm autostart on web-7' });
  }
  const dryRun = options.dryRun ?? false;
  const selector = selectorOf(names, options.all);
  const request = { requestId: call.requestId, selector, dryRun, on: state === 'on' };
  return withClient(call, VmServiceClient, (client) =>
    showProgress(call, callStream(client.setAutostart.bind(client), request, { signal: call.world.signal }), dryRun),
  );
}
