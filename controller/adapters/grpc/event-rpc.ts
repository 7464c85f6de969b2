import type { EventServiceServer } from '../../../shared/gen/domherd/v1/event.js';
import type { EventLog } from '../../services/event-log.js';
import type { Handlers } from './call.js';
import { eventToWire, filterFrom } from './convert-event.js';
import { integerFrom, optionalIdFrom } from './convert.js';

const MAX_LIMIT = 1_000;
const DEFAULT_LIMIT = 100;

export function eventHandlers(events: EventLog): Handlers<EventServiceServer> {
  return {
    list: ({ filter, afterEvent, limit }) => {
      const count = integerFrom(limit, 'limit', 0, MAX_LIMIT) || DEFAULT_LIMIT;
      const found = events.list(filterFrom(filter), optionalIdFrom(afterEvent, 'after_event'), count);
      return { events: found.map(eventToWire) };
    },

    watch: async function* ({ filter, afterEvent }, { signal }) {
      const after = optionalIdFrom(afterEvent, 'after_event');
      for await (const event of events.subscribe(filterFrom(filter), after, signal))
        yield { event: eventToWire(event) };
    },
  };
}
