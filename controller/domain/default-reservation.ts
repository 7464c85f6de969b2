import { invalid, notFound, type AppError } from '../../shared/errors.js';
import { phaseOf, type Reservation } from './reservation.js';

/**
 * The reservation that is meant when none is named: the only active one; if none is active, the only upcoming one.
 *
 * @throws {AppError} `not_found` if there is none, `invalid` if there are several
 */
export function defaultReservation(all: readonly Reservation[], nowMs: number): Reservation {
  const active = all.filter((one) => phaseOf(one, nowMs) === 'active');
  const candidates = active.length > 0 ? active : all.filter((one) => phaseOf(one, nowMs) === 'upcoming');
  const [only, ...more] = candidates;
  if (only === undefined) throw noReservation(all.length);
  if (more.length === 0) return only;
  const names = candidates.map(({ name }) => name).join(', ');
  throw invalid(`there are several reservations: ${names}`, { reservations: names, hint: 'name the one you mean' });
}

export function unknownReservation(name: string, all: readonly Reservation[]): AppError {
  const names = all.map((one) => one.name).join(', ');
  return notFound(`reservation "${name}" does not exist`, {
    reservation: name,
    hint: names === '' ? IMPORT_HINT : `there are: ${names}`,
  });
}

const IMPORT_HINT = 'import one: g5k-subnets -a | domherd reservation import - --name NAME --ends HH:MM';

function noReservation(known: number): AppError {
  const message = known === 0 ? 'there is no reservation' : 'there is no reservation that is not over';
  return notFound(message, { hint: IMPORT_HINT });
}
