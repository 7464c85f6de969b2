import { createInterface } from 'node:readline/promises';
import { AppError, invalid } from '../../shared/errors.js';
import type { Invocation } from './invocation.js';

/**
 * Asks before something is taken away.
 *
 * @param question without the question mark: "release 10.0.0.7"
 * @throws {AppError} `invalid` when nobody is there to ask, `wrong_state` when the answer is no
 */
export async function confirm(call: Invocation, question: string, isSure: boolean | undefined): Promise<void> {
  if (isSure) return;
  const { stdin, stderr, signal } = call.world;
  if (!stdin.isTTY) {
    throw invalid(`${question}: nobody is there to be asked`, { hint: 'add --yes to do it without a question' });
  }
  stderr.write(`${question}? [y/N] `);
  const reader = createInterface({ input: stdin });
  const answer = await reader.question('', { signal }).finally(() => reader.close());
  if (/^y(es)?$/i.test(answer.trim())) return;
  throw new AppError('wrong_state', 'nothing was changed', { hint: 'answer y, or add --yes' });
}
