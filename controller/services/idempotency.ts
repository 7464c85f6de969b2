import { invalid } from '../../shared/errors.js';
import type { Caller } from '../domain/caller.js';
import type { RequestRecord, Tx } from '../ports/store.js';

/** How long an answer is kept for a request that comes again. */
export const ANSWER_KEPT_MS = 24 * 3_600_000;

/**
 * Runs `work`, or returns what it returned to the same request before. A request that failed is not remembered: it has
 * changed nothing.
 *
 * @param work returns plain data, which survives JSON
 * @throws {AppError} `invalid` if the request id came before with another request
 */
export function answerOnce<T>(tx: Tx, caller: Caller, nowMs: number, work: () => T): T {
  const { requestId, fingerprint } = caller;
  if (requestId === undefined) return work();
  const before = tx.requests.find(requestId);
  if (before !== undefined) return storedAnswer<T>(before, fingerprint);
  const value = work();
  tx.requests.insert({ requestId, fingerprint, answer: JSON.stringify({ value }), atMs: nowMs });
  return value;
}

/** @throws {AppError} `invalid` if what came with this request id before was another request */
export function refuseOtherRequest(
  before: Pick<RequestRecord, 'requestId' | 'fingerprint'>,
  fingerprint: string,
): void {
  if (before.fingerprint === fingerprint) return;
  throw invalid(`request_id ${before.requestId} was used before, for another request`, {
    field: 'request_id',
    hint: 'make a fresh id for each intent',
  });
}

function storedAnswer<T>(record: RequestRecord, fingerprint: string): T {
  refuseOtherRequest(record, fingerprint);
  return (JSON.parse(record.answer) as { value: T }).value;
}
