import { ConflictKind, ControllerServiceClient, type Conflict } from '../../shared/gen/domherd/v1/controller.js';
import { callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import { isTable } from './format.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printRows, tell, type Column, type View } from './output.js';
import { enumText } from './view/enum-text.js';

function columnsWith(list: (parties: readonly string[]) => string): readonly Column<Conflict>[] {
  return [
    { title: 'KIND', text: ({ kind }) => enumText(ConflictKind, kind) },
    { title: 'VALUE', text: ({ value }) => value },
    {
      title: 'NOW',
      text: ({ active }) => (active ? 'hurts' : 'rests'),
      colour: ({ active }) => (active ? 'red' : 'yellow'),
    },
    { title: 'PARTIES', text: ({ parties }) => list(parties) },
  ];
}

const VIEW: View<Conflict> = {
  columns: columnsWith(shorten),
  wide: columnsWith((parties) => parties.join(' ')),
  json: ({ kind, value, active, parties, hint }) => ({
    kind: enumText(ConflictKind, kind),
    value,
    active,
    parties,
    hint,
  }),
  name: ({ value }) => value,
};

const SHOWN_PARTIES = 4;

function shorten(parties: readonly string[]): string {
  const more = parties.length - SHOWN_PARTIES;
  return parties.slice(0, SHOWN_PARTIES).join(' ') + (more > 0 ? ` and ${String(more)} more` : '');
}

export async function listConflicts(call: Invocation): Promise<number> {
  const { conflicts } = await withClient(call, ControllerServiceClient, (client) =>
    callUnary(client.listConflicts.bind(client), {}, CALL),
  );
  printRows(call, conflicts, VIEW);
  if (!isTable(call.format)) return 0;
  if (conflicts.length === 0) tell(call, 'no conflicts');
  for (const hint of new Set(conflicts.map((one) => one.hint))) tell(call, `hint: ${hint}`);
  return 0;
}
