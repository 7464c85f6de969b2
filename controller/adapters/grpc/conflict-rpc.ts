import {
  ConflictKind as WireKind,
  type Conflict as WireConflict,
  type ConflictKind as WireKindValue,
  type ControllerServiceServer,
} from '../../../shared/gen/domherd/v1/controller.js';
import type { Conflict, ConflictKind } from '../../domain/conflict.js';
import type { ConflictService } from '../../services/conflict-service.js';
import type { Handlers } from './call.js';

const KINDS: Readonly<Record<ConflictKind, WireKindValue>> = {
  mac: WireKind.MAC,
  address: WireKind.ADDRESS,
  lease: WireKind.LEASE,
  expired: WireKind.EXPIRED,
};

export function conflictHandlers(conflicts: ConflictService): Pick<Handlers<ControllerServiceServer>, 'listConflicts'> {
  return { listConflicts: () => ({ conflicts: conflicts.list().map(conflictToWire) }) };
}

function conflictToWire({ kind, value, parties, isActive, hint }: Conflict): WireConflict {
  return { kind: KINDS[kind], value, parties: [...parties], active: isActive, hint };
}
