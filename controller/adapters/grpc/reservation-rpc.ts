import type { ReservationServiceServer } from '../../../shared/gen/domherd/v1/reservation.js';
import type { ReservationService } from '../../services/reservation-service.js';
import type { Handlers } from './call.js';
import { CHANGES, importOptionsFrom, reservationToWire, sourceFrom } from './convert-reservation.js';
import { missing, msFrom } from './convert.js';

export function reservationHandlers(service: ReservationService): Handlers<ReservationServiceServer> {
  return {
    import: async (request, { caller }) => {
      const text = sourceFrom(request.source);
      const options = importOptionsFrom(request);
      const { view, warnings, change } = await service.import({ text, options, isDryRun: request.dryRun }, caller);
      return { reservation: reservationToWire(view), warnings: [...warnings], change: CHANGES[change] };
    },

    list: () => ({ reservations: service.list().map(reservationToWire) }),

    get: ({ name }) => ({ reservation: reservationToWire(service.get(name)) }),

    extend: async ({ name, endsAt }, { caller }) => {
      const view = await service.extend(required(name), msFrom(endsAt, 'ends_at'), caller);
      return { reservation: reservationToWire(view) };
    },

    delete: async ({ name }, { caller }) => ({ droppedLeases: await service.delete(required(name), caller) }),
  };
}

/** A change is never made to a reservation that was not named. */
function required(name: string): string {
  if (name === '') throw missing('name');
  return name;
}
