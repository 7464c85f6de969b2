import { invalid } from '../../shared/errors.js';
import { groupBy } from '../../shared/domain/group-by.js';
import { isData } from './format.js';
import { eachVm, exitCodeOf, foldVms, type FanOptions, type Outcome } from './guest/guest-fan.js';
import type { Invocation } from './invocation.js';
import { printRows, tell, type View } from './output.js';
import { vmName } from './view/vm-view.js';

const RUN_VIEW: View<Outcome> = {
  columns: [
    { title: 'VM', text: ({ named }) => vmName(named.vm) },
    {
      title: 'RESULT',
      text: resultText,
      colour: ({ exitCode }) => (exitCode === 0 ? 'green' : 'red'),
    },
    { title: 'NOTE', text: ({ stderr }) => stderr.trim().split('\n').at(-1) ?? '' },
  ],
  json: ({ named, exitCode, error, stdout, stderr, durationMs }) => ({
    vm: vmName(named.vm),
    exitCode: exitCode ?? null,
    error: error ?? null,
    stdout,
    stderr,
    durationMs,
  }),
  name: ({ named }) => vmName(named.vm),
};

/** Runs a command in VMs, side by side; what several say alike is printed once. */
export async function runInVms(call: Invocation, args: readonly string[], options: FanOptions): Promise<number> {
  const { trailing } = call;
  if (trailing.length === 0) throw invalid('no command is given', { hint: 'domherd vm run --all -- uptime' });
  const names = args.slice(0, args.length - trailing.length);
  const outcomes = await eachVm(call, names, options, (ssh, name) => [
    'ssh',
    ...ssh.options,
    ...['-o', 'BatchMode=yes', '-T', '--', name],
    ...trailing,
  ]);
  if (isData(call.format)) printRows(call, outcomes, RUN_VIEW);
  else printFolded(call, outcomes, options.all !== true && outcomes.length === 1);
  return exitCodeOf(outcomes);
}

/** Copies a file or folder to VMs, side by side. */
export async function copyToVms(
  call: Invocation,
  [source = '', destination = '', ...names]: readonly string[],
  options: FanOptions,
): Promise<number> {
  if (/^[^/]*:/.test(source)) throw invalid('the source is a file of this machine', { hint: 'from VMs: vm scp' });
  const outcomes = await eachVm(call, names, options, (ssh, name) => [
    'scp',
    ...ssh.options,
    ...['-o', 'BatchMode=yes', '-q', '-r', '--', source, `${name}:${destination}`],
  ]);
  printRows(call, outcomes, RUN_VIEW);
  return exitCodeOf(outcomes);
}

function resultText({ exitCode, error }: Outcome): string {
  if (exitCode === undefined) return error ?? 'failed';
  return exitCode === 0 ? 'done' : exitText(exitCode);
}

/** ssh(1) ends so when it did not get to the command. */
function exitText(exitCode: number): string {
  return exitCode === 255 ? 'exit code 255 (ssh)' : `exit code ${String(exitCode)}`;
}

/** As clush -b: a header with the names, then what all of them said. One VM alone has no header. */
function printFolded(call: Invocation, outcomes: readonly Outcome[], isOne: boolean): void {
  const { stdout, stderr } = call.world;
  const sides = [
    { sink: stdout, textOf: ({ stdout: text }: Outcome) => text },
    { sink: stderr, textOf: ({ stderr: text }: Outcome) => text },
  ];
  for (const { sink, textOf } of sides) {
    for (const [text, group] of groupBy(outcomes, textOf)) {
      if (text === '') continue;
      sink.write(`${isOne ? '' : header(group)}${text.endsWith('\n') ? text : `${text}\n`}`);
    }
  }
  for (const [text, group] of groupBy(outcomes, resultText)) {
    if (text !== 'done') tell(call, `${foldVms(group.map(({ named }) => named))}: ${text}`);
  }
}

function header(group: readonly Outcome[]): string {
  const line = '-'.repeat(15);
  const count = group.length === 1 ? '' : ` (${String(group.length)})`;
  return `${line}\n${foldVms(group.map(({ named }) => named))}${count}\n${line}\n`;
}
