import { AppError, type ErrorCode } from '../../../shared/errors.js';
import type { ExecResult } from '../../../shared/exec.js';

/** How ssh itself ends when it did not get to the command. */
const SSH_FAILED = 255;

interface Case {
  readonly pattern: RegExp;
  readonly code: ErrorCode;
  readonly says: (host: string, user: string) => string;
  readonly hint: (host: string, user: string) => string;
}

/** What ssh says in the C locale, first match wins. */
const CASES: readonly Case[] = [
  {
    pattern: /REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed/,
    code: 'unauthenticated',
    says: (host) => `${host} shows another host key than before`,
    hint: (host) =>
      `each deployment makes new keys: if you deployed ${host} anew, repeat with --accept-new-host-key; ` +
      'if you did not, another machine answers in its place',
  },
  {
    pattern: /Permission denied/,
    code: 'unauthenticated',
    says: (host, user) => `${user}@${host} does not let your ssh keys in`,
    hint: (host, user) =>
      `try: ssh ${user}@${host} true; kadeploy3 -k puts your key there; ssh-add -l shows what your agent has`,
  },
  {
    pattern: /Could not resolve hostname/,
    code: 'not_found',
    says: (host) => `there is no host ${host}: its name is not known`,
    hint: () => 'is it spelt right? oarstat, or cat $OAR_NODE_FILE, shows the names',
  },
  {
    pattern: /Connection refused/,
    code: 'unavailable',
    says: (host) => `${host} refuses ssh: no sshd listens there`,
    hint: () => 'is its deployment over, and has it booted?',
  },
  {
    pattern: /timed out/i,
    code: 'timeout',
    says: (host) => `${host} does not answer to ssh`,
    hint: () => 'is it on, and has it booted? ping it; a node that is not in your job is not reachable',
  },
  {
    pattern: /No route to host|Network is unreachable/,
    code: 'unavailable',
    says: (host) => `there is no route to ${host}`,
    hint: () => 'is it on? a node that boots has none for a while',
  },
  {
    pattern: /remote port forwarding failed/,
    code: 'already_exists',
    says: (host) => `a port on ${host} that the tunnel needs is taken`,
    hint: () => 'another tunnel leads there: see which on the dom0 with ss -ltnp',
  },
  {
    pattern: /Connection (closed|reset)|kex_exchange_identification|Broken pipe/,
    code: 'unavailable',
    says: (host) => `${host} closed the ssh connection`,
    hint: () => 'it may be booting, or its sshd has too many connections: run the command again',
  },
  {
    pattern: /Bad (owner or permissions|configuration)|terminating, \d+ bad/,
    code: 'invalid',
    says: () => 'ssh refuses your ssh configuration',
    hint: (host) => `see what is wrong with it: ssh -G ${host}`,
  },
];

const SUDO: Case = {
  pattern: /sudo: .*(password is required|terminal is required|not in the sudoers|not allowed)|sudo: not found/,
  code: 'forbidden',
  says: (host, user) => `${user} may not become root on ${host} without a password`,
  hint: () => 'use --user root, or allow sudo without a password there',
};

/** Why a command over ssh failed; `undefined`: it ran, and what it answered counts. */
export function sshFailure(result: ExecResult, host: string, user: string): AppError | undefined {
  const said = result.stderr.trim().slice(-1_000);
  switch (result.kind) {
    case 'ok':
      return undefined;
    case 'missing':
      return new AppError('not_found', 'there is no ssh on this machine', { hint: 'apt-get install openssh-client' });
    case 'timeout':
      return new AppError('timeout', `${host} took too long`, {
        said,
        hint: 'is it overloaded? run the command again',
      });
    case 'aborted':
      return new AppError('unavailable', 'interrupted', { hint: 'run the command again: it goes on where it was' });
    case 'failed':
      break;
  }
  if (SUDO.pattern.test(said)) return failure(SUDO, host, user, said);
  if (result.exitCode === 127) {
    return new AppError('wrong_state', `${host} has no bash`, { said, hint: 'install it there: apt-get install bash' });
  }
  if (result.exitCode !== SSH_FAILED) return undefined;
  const known = CASES.find(({ pattern }) => pattern.test(said));
  if (known) return failure(known, host, user, said);
  const last = said.split('\n').at(-1) ?? '';
  return new AppError('unavailable', `ssh to ${host} failed: ${last}`, { hint: `try: ssh ${user}@${host} true` });
}

function failure({ code, says, hint }: Case, host: string, user: string, said: string): AppError {
  return new AppError(code, says(host, user), { said: said.split('\n').at(-1) ?? '', hint: hint(host, user) });
}
