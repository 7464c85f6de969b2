import { EXIT_CODE } from '../../shared/exit-code.js';
import type { PlannedStep, VmPlan, VmProgress, VmResult } from '../../shared/gen/domherd/v1/vm.js';
import { resultCode, resultHint } from './failure.js';
import type { Invocation } from './invocation.js';
import { printRows, tell, type View } from './output.js';
import { joinName, progressScreen, type ProgressScreen } from './progress-screen.js';
import { vmAddresses, vmJson, vmStateText } from './view/vm-view.js';

const RESULT_VIEW: View<VmResult> = {
  columns: [
    { title: 'VM', text: resultName },
    {
      title: 'RESULT',
      text: ({ errorCode }) => errorCode || 'done',
      colour: ({ errorCode }) => (errorCode === '' ? 'green' : 'red'),
    },
    { title: 'STATE', text: ({ state }) => (state ? vmStateText(state) : '-') },
    { title: 'ADDRESS', text: ({ state }) => (state && vmAddresses(state).join(' ')) || '-' },
    {
      title: 'NOTE',
      text: ({ state, message }) => [state?.simulated ? 'simulated' : '', message].filter(Boolean).join(', '),
    },
  ],
  json: (result) => ({
    vm: resultName(result),
    errorCode: result.errorCode || null,
    message: result.message,
    details: result.details,
    state: result.state ? vmJson(result.state) : null,
    warnings: result.warnings,
  }),
  name: resultName,
  addresses: ({ state }) => (state ? vmAddresses(state) : []),
};

const PLAN_VIEW: View<PlannedStep> = {
  columns: [
    { title: 'VM', text: ({ vm, host }) => joinName(vm, host) },
    { title: 'STEP', text: ({ action }) => action },
    { title: 'DETAIL', text: ({ detail }) => detail },
  ],
  json: ({ vm, host, action, detail }) => ({ vm: joinName(vm, host), action, detail }),
  name: ({ vm, host }) => joinName(vm, host),
};

function resultName({ vm, host }: VmResult): string {
  return joinName(vm, host);
}

/**
 * Shows a stream of plan, steps and results: progress on stderr, results on stdout.
 *
 * @returns the exit code: 0, `partial` when some failed, the failure's own when all failed alike
 */
export async function showProgress(
  call: Invocation,
  stream: AsyncIterable<VmProgress>,
  isDryRun: boolean,
): Promise<number> {
  const screen = isDryRun ? undefined : progressScreen(call);
  const results: VmResult[] = [];
  try {
    for await (const { progress } of stream) {
      if (progress?.$case === 'plan') showPlan(call, progress.value, screen);
      if (progress?.$case === 'step') screen?.step(progress.value);
      if (progress?.$case !== 'result') continue;
      results.push(progress.value);
      screen?.result(progress.value);
    }
  } finally {
    screen?.end();
  }
  if (screen) printRows(call, results, RESULT_VIEW);
  if (!screen?.hasToldAll) tellAside(call, results);
  return exitCodeOf(results);
}

function tellAside(call: Invocation, results: readonly VmResult[]): void {
  showWarnings(call, results);
  showOutputs(call, results);
  showHints(call, results);
}

/** @param screen what goes on; `undefined` on a dry run, which shows the plan itself */
function showPlan(call: Invocation, plan: VmPlan, screen: ProgressScreen | undefined): void {
  screen?.plan(plan);
  if (!screen?.hasToldAll) for (const warning of plan.warnings) tell(call, `warning: ${warning}`);
  if (screen) return;
  printRows({ ...call, format: call.format === 'ips' ? 'table' : call.format }, plan.steps, PLAN_VIEW);
}

function showWarnings(call: Invocation, results: readonly VmResult[]): void {
  for (const result of results) {
    for (const warning of result.warnings) tell(call, `warning: ${resultName(result)}: ${warning}`);
  }
}

/** What the program printed that failed, which hints speak of, and what its host could not undo. */
function showOutputs(call: Invocation, results: readonly VmResult[]): void {
  for (const result of results) {
    if (result.errorCode === '') continue;
    const { output = '', notUndone = '' } = result.details;
    if (notUndone !== '') tell(call, `${resultName(result)}: what was done could not be undone: ${notUndone}`);
    if (output.trim() === '') continue;
    tell(call, `output of ${resultName(result)}:`);
    for (const line of output.trim().split(/\r?\n/)) tell(call, `  ${line.replaceAll('\t', '  ')}`);
  }
}

function showHints(call: Invocation, results: readonly VmResult[]): void {
  const hints = new Set(results.flatMap((result) => resultHint(result) ?? []));
  for (const hint of hints) tell(call, `hint: ${hint}`);
}

/** Exported for its test. */
export function exitCodeOf(results: readonly VmResult[]): number {
  const codes = new Set(results.map((result) => (result.errorCode === '' ? 0 : EXIT_CODE[resultCode(result)])));
  const [only] = codes;
  if (codes.size <= 1) return only ?? 0;
  return EXIT_CODE.partial;
}
