import type { NewVmJob, VmJob, VmJobId, VmJobState } from '../../domain/vm-job.js';
import type { VmJobStore } from '../../ports/store.js';
import type { Change, Column, Connection, Select } from './connection.js';

interface Row {
  readonly id: number;
  readonly kind: string;
  readonly request_id: string;
  readonly fingerprint: string;
  readonly name: string;
  readonly host_id: number;
  readonly vm_key: string;
  readonly order_id: string;
  readonly state: VmJobState;
  readonly data: string;
  readonly changed_at_ms: number;
}

const COLUMNS = 'kind, request_id, fingerprint, name, host_id, vm_key, order_id, data, changed_at_ms';
const IS_LIVE = "state IN ('running', 'undoing')";
const HAS_ENDED = "state IN ('done', 'undone')";

export class SqliteVmJobStore implements VmJobStore {
  private readonly insertRow: Change;
  private readonly stateRow: Change;
  private readonly endRow: Change;
  private readonly deleteRow: Change;
  private readonly deleteOld: Change;
  private readonly insertShared: Change;
  private readonly deleteShared: Change;
  private readonly shared: Column<string>;
  private readonly byId: Select<Row, VmJob>;
  private readonly byName: Select<Row, VmJob>;
  private readonly byRequest: Select<Row, VmJob>;
  private readonly live: Select<Row, VmJob>;

  constructor(connection: Connection) {
    this.insertRow = connection.change(
      `INSERT INTO vm_job (${COLUMNS}, state) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 'running')`,
    );
    this.stateRow = connection.change('UPDATE vm_job SET state = ?, changed_at_ms = ? WHERE id = ?');
    this.endRow = connection.change('UPDATE vm_job SET state = ?, data = ?, changed_at_ms = ? WHERE id = ?');
    this.deleteRow = connection.change('DELETE FROM vm_job WHERE id = ?');
    this.deleteOld = connection.change(
      `DELETE FROM vm_job WHERE id IN
        (SELECT id FROM vm_job WHERE ${HAS_ENDED} AND changed_at_ms < ? ORDER BY changed_at_ms LIMIT ?)`,
    );
    this.insertShared = connection.change(
      'INSERT INTO vm_job_shared (request_id, data) VALUES (?, ?) ON CONFLICT DO NOTHING',
    );
    this.deleteShared = connection.change(
      'DELETE FROM vm_job_shared WHERE request_id NOT IN (SELECT request_id FROM vm_job)',
    );
    this.shared = connection.column('SELECT data FROM vm_job_shared WHERE request_id = ?');
    this.byId = connection.select('SELECT * FROM vm_job WHERE id = ?', toJob);
    this.byName = connection.select(`SELECT * FROM vm_job WHERE kind = ? AND name = ? AND ${IS_LIVE}`, toJob);
    this.byRequest = connection.select('SELECT * FROM vm_job WHERE request_id = ? ORDER BY id', toJob);
    this.live = connection.select(`SELECT * FROM vm_job WHERE kind = ? AND ${IS_LIVE} ORDER BY id`, toJob);
  }

  insert(job: NewVmJob): VmJob {
    const { kind, requestId, fingerprint, name, hostId, vmKey, orderId, data, changedAtMs } = job;
    const columns = [kind, requestId, fingerprint, name, hostId, vmKey, orderId, data, changedAtMs];
    return { ...job, id: this.insertRow.insert(...columns), state: 'running' };
  }

  keepShared(requestId: string, data: string): void {
    this.insertShared.run(requestId, data);
  }

  findShared(requestId: string): string | undefined {
    return this.shared.find(requestId);
  }

  setState(id: VmJobId, state: VmJobState, nowMs: number): boolean {
    return this.stateRow.run(state, nowMs, id) > 0;
  }

  end(id: VmJobId, state: 'done' | 'undone', outcome: string, nowMs: number): boolean {
    return this.endRow.run(state, outcome, nowMs, id) > 0;
  }

  find(id: VmJobId): VmJob | undefined {
    return this.byId.find(id);
  }

  findLive(kind: string, name: string): VmJob | undefined {
    return this.byName.find(kind, name);
  }

  listByRequest(requestId: string): readonly VmJob[] {
    return this.byRequest.list(requestId);
  }

  listLive(kind: string): readonly VmJob[] {
    return this.live.list(kind);
  }

  remove(id: VmJobId): void {
    this.deleteRow.run(id);
  }

  prune(beforeMs: number, limit: number): number {
    const dropped = this.deleteOld.run(beforeMs, limit);
    if (dropped > 0) this.deleteShared.run();
    return dropped;
  }
}

function toJob(row: Row): VmJob {
  return {
    id: row.id,
    kind: row.kind,
    requestId: row.request_id,
    fingerprint: row.fingerprint,
    name: row.name,
    hostId: row.host_id,
    vmKey: row.vm_key,
    orderId: row.order_id,
    state: row.state,
    data: row.data,
    changedAtMs: row.changed_at_ms,
  };
}
