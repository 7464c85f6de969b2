import { AppError } from '../../shared/errors.js';
import type { Vm } from '../domain/vm.js';
import type { OrderAnswer } from './order-book.js';
import { orderError, type VmOperator } from './vm-operator.js';
import type { Tell } from './vm-progress.js';

type Place = Pick<Vm, 'hostId' | 'key' | 'name'>;

/** Reading some pieces of each disk, and a handshake; slow on a busy host. */
const LOOK_MS = 180_000;
/** All memory of a large guest over a slow network. */
const SEND_MS = 3_600_000;

export interface Course {
  readonly migrationId: string;
  readonly source: Place;
  readonly target: Place;
}

/** How far it came: `before` anything was let in there, or to where only its target can tell. */
export type CourseEnd =
  | { readonly kind: 'before'; readonly error: AppError }
  | { readonly kind: 'open'; readonly error: AppError | undefined };

/**
 * A domain goes from host to host: what the one tells is handed to the other. The controller decides nothing of it, and asks
 * the target in the end.
 */
export async function runCourse(
  operator: VmOperator,
  { migrationId, source, target }: Course,
  tell: Tell,
  signal: AbortSignal,
): Promise<CourseEnd> {
  const offered = await operator.order(source, { kind: 'offer', migrationId }, LOOK_MS, signal, tell);
  if (offered.kind !== 'done') return { kind: 'before', error: orderError(offered) };
  const { offer } = offered;
  if (offer === undefined) return { kind: 'before', error: cut('its host forgot what it offered') };
  const admitted = await operator.order(target, { kind: 'admit', migrationId, offer }, LOOK_MS, signal, tell);
  if (admitted.kind !== 'done') {
    const error = orderError(admitted);
    // Its host has undone it already, or never heard of it.
    return admitted.kind === 'unknown' ? { kind: 'open', error } : { kind: 'before', error };
  }
  const { admission } = admitted;
  if (admission === undefined) return { kind: 'open', error: cut('its new host forgot that it lets it in') };
  const order = { kind: 'handOver', migrationId, offer, admission } as const;
  const sent = await operator.order(source, order, SEND_MS, signal, tell);
  return { kind: 'open', error: sent.kind === 'done' ? undefined : orderError(sent) };
}

/** What the target says of it. `undefined`: it has not said. */
export function hasCome(answer: OrderAnswer): boolean | undefined {
  if (answer.kind === 'done') return true;
  if (answer.kind === 'failed' && answer.code === 'not_found') return false;
  return undefined;
}

function cut(why: string): AppError {
  return new AppError('raced', `it was cut short: ${why}`);
}
