import type { Labels } from '../../../shared/domain/label.js';
import type { VmId } from '../../domain/lease.js';
import type { LabelStore } from '../../ports/store.js';
import type { Change, Connection, Select } from './connection.js';

interface Row {
  readonly vm_id: number;
  readonly key: string;
  readonly value: string;
}

export class SqliteLabelStore implements LabelStore {
  private readonly insertRow: Change;
  private readonly deleteRows: Change;
  private readonly byVm: Select<Row, Row>;
  private readonly all: Select<Row, Row>;

  constructor(connection: Connection) {
    this.insertRow = connection.change('INSERT INTO vm_label (vm_id, key, value) VALUES (?, ?, ?)');
    this.deleteRows = connection.change('DELETE FROM vm_label WHERE vm_id = ?');
    this.byVm = connection.select('SELECT * FROM vm_label WHERE vm_id = ? ORDER BY key', asItIs);
    this.all = connection.select('SELECT * FROM vm_label ORDER BY vm_id, key', asItIs);
  }

  set(vmId: VmId, labels: Labels): void {
    this.deleteRows.run(vmId);
    for (const [key, value] of Object.entries(labels)) this.insertRow.run(vmId, key, value);
  }

  find(vmId: VmId): Labels {
    return Object.fromEntries(this.byVm.list(vmId).map(({ key, value }) => [key, value]));
  }

  list(): ReadonlyMap<VmId, Labels> {
    const labels = new Map<VmId, Record<string, string>>();
    for (const { vm_id: vmId, key, value } of this.all.list()) {
      const own = labels.get(vmId);
      if (own) own[key] = value;
      else labels.set(vmId, { [key]: value });
    }
    return labels;
  }
}

function asItIs(row: Row): Row {
  return row;
}
