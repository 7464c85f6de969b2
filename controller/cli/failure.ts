import { ERROR_CODES, type ErrorCode } from '../../shared/errors.js';
import type { VmResult } from '../../shared/gen/domherd/v1/vm.js';

/** 128 + SIGINT, as shells have it. */
export const INTERRUPTED = 130;

/** What to do about an error whose sender gave no hint. */
export const DEFAULT_HINT: Readonly<Record<ErrorCode, string>> = {
  invalid: 'add --help to see what the command takes',
  not_found: 'the list command of that noun shows what there is, as in: domherd vm list',
  already_exists: 'see who has it: domherd lease list, domherd conflict list',
  wrong_state: 'see the present state with the show command of that noun',
  raced: 'somebody changed it at the same time: run the command again',
  exhausted: 'release what is not needed (domherd lease list), or import more addresses',
  unavailable: 'run the command again in a moment; is the controller healthy? domherd version',
  timeout: 'see what came of it (domherd event list), then run the command again',
  unauthenticated: 'get a certificate on the controller: domherd certificate issue NAME --out DIR',
  forbidden: 'ask the one who runs the controller for that right',
  internal: "this is a fault of domherd: the controller's log has more under the ref of the message",
};

export function hintOf(code: ErrorCode, details: Readonly<Record<string, string>>): string {
  return details['hint'] || DEFAULT_HINT[code];
}

/** @returns what to do about it; `undefined` where it is done */
export function resultHint(result: VmResult): string | undefined {
  return result.errorCode === '' ? undefined : hintOf(resultCode(result), result.details);
}

/** Of one that is not done; a code that only a newer controller knows is `internal`. */
export function resultCode({ errorCode }: VmResult): ErrorCode {
  return ERROR_CODES.find((code) => code === errorCode) ?? 'internal';
}

/**
 * What commander says about a wrong command line, in our form.
 *
 * @param text commander's, as in "error: unknown command 'lsit'\n(Did you mean list?)\n"
 * @param path the command it is about: "domherd lease"
 */
export function formatUsageFailure(text: string, path: string): string {
  const [message = '', ...rest] = text.trim().split('\n');
  const suggestion = /^\(Did you mean (?:one of )?(.+)\?\)$/.exec(rest.join(' '))?.[1];
  const hint = suggestion === undefined ? `see: ${path} --help` : `did you mean ${suggestion}? see: ${path} --help`;
  return `domherd: ${message.replace(/^error: /, '').replace(/\.$/, '')}\nhint: ${hint}\n`;
}
