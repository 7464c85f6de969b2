import { parseSshPublicKey } from '../../shared/domain/ssh-public-key.js';
import { quote } from './dom0/script.js';
import { eachVm, exitCodeOf, type FanOptions, type Outcome } from './guest/guest-fan.js';
import { keysToPush } from './guest/user-key.js';
import type { Invocation } from './invocation.js';
import { printRows, type View } from './output.js';
import { vmName } from './view/vm-view.js';

export interface PushOptions extends FanOptions {
  /** Files with public keys. */
  readonly key?: readonly string[];
}

interface Pushed {
  readonly vm: string;
  /** How many keys it had not; `undefined`: it was not done. */
  readonly added: number | undefined;
  readonly error: string;
}

const PUSH_VIEW: View<Pushed> = {
  columns: [
    { title: 'VM', text: ({ vm }) => vm },
    {
      title: 'RESULT',
      text: ({ added, error }) => (added === undefined ? error : addedText(added)),
      colour: ({ added }) => (added === undefined ? 'red' : 'green'),
    },
  ],
  json: ({ vm, added, error }) => ({ vm, added: added ?? null, error: error === '' ? null : error }),
  name: ({ vm }) => vm,
};

/** Appends keys to the authorized_keys of whom we log in as; a key that is there is left alone, whatever its options. */
export async function pushKeys(call: Invocation, names: readonly string[], options: PushOptions): Promise<number> {
  const script = pushScript(await keysToPush(call, options.key ?? []));
  const outcomes = await eachVm(call, names, options, (ssh, name) => [
    'ssh',
    ...ssh.options,
    ...['-o', 'BatchMode=yes', '-T', '--', name, script],
  ]);
  printRows(call, outcomes.map(pushedOf), PUSH_VIEW);
  return exitCodeOf(outcomes);
}

/** Of any POSIX shell: guests may be small. sshd takes no file that others may write. */
export function pushScript(lines: readonly string[]): string {
  const each = lines.map((line) => `put ${quote(parseSshPublicKey(line).blob)} ${quote(line)}`);
  return [
    'set -e; umask 077; mkdir -p ~/.ssh; f=~/.ssh/authorized_keys; touch "$f"; n=0',
    'if [ -n "$(tail -c 1 "$f")" ]; then echo >> "$f"; fi',
    'put() { if ! grep -v "^ *#" "$f" | grep -qF -e "$1"; then printf "%s\\n" "$2" >> "$f"; n=$((n + 1)); fi; }',
    ...each,
    'echo "added $n"',
  ].join('\n');
}

function pushedOf({ named, exitCode, error, stdout, stderr }: Outcome): Pushed {
  const vm = vmName(named.vm);
  const added = /^added (\d+)$/m.exec(stdout)?.[1];
  if (exitCode === 0 && added !== undefined) return { vm, added: Number(added), error: '' };
  const said = stderr.trim().split('\n').at(-1) ?? '';
  return { vm, added: undefined, error: error ?? (said || `exit code ${String(exitCode)}`) };
}

function addedText(count: number): string {
  if (count === 0) return 'has them';
  return count === 1 ? '1 key added' : `${String(count)} keys added`;
}
