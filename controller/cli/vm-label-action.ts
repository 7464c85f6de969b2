import { isLabelChange, parseLabelChanges } from '../../shared/domain/label.js';
import { invalid } from '../../shared/errors.js';
import { VmServiceClient } from '../../shared/gen/domherd/v1/vm.js';
import { callUnary } from '../../shared/grpc/client.js';
import { withClient } from './connection.js';
import type { Invocation } from './invocation.js';
import { CALL } from './limit.js';
import { printRows } from './output.js';
import { selectorOf } from './selection.js';
import { LABEL_VIEW } from './view/vm-view.js';

export interface LabelOptions {
  readonly all?: boolean;
}

export async function labelVms(call: Invocation, words: readonly string[], { all }: LabelOptions): Promise<number> {
  const changes = parseLabelChanges(words.filter(isLabelChange));
  const entries = Object.entries(changes);
  if (entries.length === 0) {
    throw invalid('no label is given', {
      hint: 'write KEY=VALUE, or KEY- to take one away: domherd vm label web-1 role=db',
    });
  }
  const request = {
    requestId: call.requestId,
    selector: selectorOf(
      words.filter((word) => !isLabelChange(word)),
      all,
    ),
    set: Object.fromEntries(entries.flatMap(([key, value]) => (value === undefined ? [] : [[key, value] as const]))),
    remove: entries.flatMap(([key, value]) => (value === undefined ? [key] : [])),
  };
  const { vms } = await withClient(call, VmServiceClient, (client) =>
    callUnary(client.setLabels.bind(client), request, CALL),
  );
  printRows(call, vms, LABEL_VIEW);
  return 0;
}
