import type { VmId } from '../../domain/lease.js';
import type { HostId, ObservedVm, Vm, VmState } from '../../domain/vm.js';
import type { VmStore } from '../../ports/store.js';
import type { Change, Column, Connection, Select, SqlValue } from './connection.js';
import { hostKeysColumn, parseColumn, vifsColumn } from './json-column.js';

interface Row {
  readonly id: number;
  readonly host_id: number;
  readonly key: string;
  readonly name: string;
  readonly cfg_path: string | null;
  readonly uuid: string | null;
  readonly state: VmState;
  readonly memory_mib: number;
  readonly vcpus: number;
  readonly vifs: string;
  readonly host_keys: string;
  readonly problem: string | null;
  readonly observed_at_ms: number;
  readonly is_gone: number;
}

const OBSERVED = 'name, cfg_path, uuid, state, memory_mib, vcpus, vifs, host_keys, problem, observed_at_ms, is_gone';

export class SqliteVmStore implements VmStore {
  private readonly insertRow: Change;
  private readonly updateRow: Change;
  private readonly moveRow: Change;
  private readonly goneRow: Change;
  private readonly deleteRow: Change;
  private readonly idByKey: Column<number>;
  private readonly byId: Select<Row, Vm>;
  private readonly byKey: Select<Row, Vm>;
  private readonly byHost: Select<Row, Vm>;
  private readonly all: Select<Row, Vm>;

  constructor(connection: Connection) {
    this.insertRow = connection.change(
      `INSERT INTO vm (${OBSERVED}, host_id, key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?)`,
    );
    this.updateRow = connection.change(`UPDATE vm SET (${OBSERVED}) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0) WHERE id = ?`);
    this.moveRow = connection.change(
      `UPDATE vm SET (${OBSERVED}, host_id, key) = (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, ?, ?) WHERE id = ?`,
    );
    this.goneRow = connection.change('UPDATE vm SET is_gone = 1 WHERE id = ?');
    this.deleteRow = connection.change('DELETE FROM vm WHERE id = ?');
    this.idByKey = connection.column('SELECT id FROM vm WHERE host_id = ? AND key = ?');
    this.byId = connection.select('SELECT * FROM vm WHERE id = ?', toVm);
    this.byKey = connection.select('SELECT * FROM vm WHERE host_id = ? AND key = ?', toVm);
    this.byHost = connection.select('SELECT * FROM vm WHERE host_id = ? ORDER BY key', toVm);
    this.all = connection.select('SELECT * FROM vm ORDER BY id', toVm);
  }

  observe(hostId: HostId, vm: ObservedVm, nowMs: number): Vm {
    const columns = toColumns(vm, nowMs);
    // Not an upsert: each would take the next id, given out or not.
    const known = this.idByKey.find(hostId, vm.key);
    if (known !== undefined) this.updateRow.run(...columns, known);
    const id = known ?? this.insertRow.insert(...columns, hostId, vm.key);
    return { ...vm, id, hostId, observedAtMs: nowMs, isGone: false };
  }

  move(vm: Vm): void {
    this.moveRow.run(...toColumns(vm, vm.observedAtMs), vm.hostId, vm.key, vm.id);
  }

  markGone(id: VmId): void {
    this.goneRow.run(id);
  }

  remove(id: VmId): void {
    this.deleteRow.run(id);
  }

  findById(id: VmId): Vm | undefined {
    return this.byId.find(id);
  }

  findByKey(hostId: HostId, key: string): Vm | undefined {
    return this.byKey.find(hostId, key);
  }

  listByHost(hostId: HostId): readonly Vm[] {
    return this.byHost.list(hostId);
  }

  list(): readonly Vm[] {
    return this.all.list();
  }
}

function toColumns(vm: ObservedVm, nowMs: number): SqlValue[] {
  const { name, cfgPath, uuid, state, memoryMib, vcpus, problem, hostKeys = [] } = vm;
  const lists = [JSON.stringify(vm.vifs), JSON.stringify(hostKeys)];
  return [name, cfgPath, uuid, state, memoryMib, vcpus, ...lists, problem, nowMs];
}

function toVm(row: Row): Vm {
  return {
    id: row.id,
    hostId: row.host_id,
    key: row.key,
    name: row.name,
    cfgPath: row.cfg_path ?? undefined,
    uuid: row.uuid ?? undefined,
    state: row.state,
    memoryMib: row.memory_mib,
    vcpus: row.vcpus,
    vifs: parseColumn(vifsColumn, row.vifs),
    ...(row.host_keys !== '[]' && { hostKeys: parseColumn(hostKeysColumn, row.host_keys) }),
    problem: row.problem ?? undefined,
    observedAtMs: row.observed_at_ms,
    isGone: row.is_gone === 1,
  };
}
