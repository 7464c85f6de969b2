import { hintOf } from '../failure.js';
import type { Invocation } from '../invocation.js';
import { printRows, tell, type View } from '../output.js';
import type { Artefact } from './artefact.js';
import { stepText, type Dom0Step } from './plan.js';
import type { SetupResult } from './setup.js';

/** In one word what was done to a host. */
function deedOf(steps: readonly Dom0Step[]): string {
  const did = (kind: Dom0Step['kind']): boolean => steps.some((step) => step.kind === kind);
  if (did('join')) return 'joined';
  if (did('copy') || did('activate')) return 'upgraded';
  if (did('start')) return 'restarted';
  return 'unchanged';
}

export function outcomeText({ error, steps }: SetupResult, isDryRun: boolean): string {
  if (error) return `${error.code}: ${error.message}`;
  return isDryRun ? 'nothing stands against it' : deedOf(steps);
}

/** Results to stdout; hints to stderr, those of several hosts once. */
export function printResults(call: Invocation, results: readonly SetupResult[], artefact: Artefact): void {
  const view: View<SetupResult> = {
    columns: [
      { title: 'HOST', text: ({ host }) => host },
      {
        title: 'RESULT',
        text: ({ error, steps }) => error?.code ?? deedOf(steps),
        colour: ({ error }) => (error ? 'red' : 'green'),
      },
      { title: 'AGENT', text: ({ error }) => (error ? '-' : artefact.version) },
      { title: 'NOTE', text: ({ error }) => error?.message ?? '' },
    ],
    json: ({ host, error, steps }) => ({
      host,
      result: error ? null : deedOf(steps),
      errorCode: error?.code ?? null,
      message: error?.message ?? '',
      details: error?.details ?? {},
      agent: error ? null : artefact.version,
      steps: steps.map(({ kind }) => kind),
    }),
    name: ({ host }) => host,
  };
  const rows = call.format === 'name' ? results.filter(({ error }) => error === undefined) : results;
  printRows(call, rows, view);
  tellHints(call, results);
}

/** What would be done, to stdout. */
export function printPlans(call: Invocation, results: readonly SetupResult[], artefact: Artefact): void {
  const rows = results.flatMap(({ host, steps, error }): { host: string; step: string; detail: string }[] =>
    error
      ? [{ host, step: error.code, detail: error.message }]
      : steps.map((step) => ({ host, step: step.kind, detail: stepText(step, { artefact }) })),
  );
  printRows(call, rows, {
    columns: [
      { title: 'HOST', text: ({ host }) => host },
      { title: 'STEP', text: ({ step }) => step },
      { title: 'DETAIL', text: ({ detail }) => detail },
    ],
    json: (row) => row,
    name: ({ host }) => host,
  });
  tellHints(call, results);
}

function tellHints(call: Invocation, results: readonly SetupResult[]): void {
  const hints = new Set(results.flatMap(({ error }) => (error ? [hintOf(error.code, error.details)] : [])));
  for (const hint of hints) tell(call, `hint: ${hint}`);
}
