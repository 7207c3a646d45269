// The present eventsource: headers by a fetch of one's own. Prints a line of JSON per thing seen.
import { EventSource } from 'eventsource';
import { listen } from './listen.mjs';

listen(
  new EventSource(`${process.env.HOLDFAST_URL}/api/v1/events`, {
    fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, 'X-Api-Key': process.env.HOLDFAST_KEY } }),
  }),
);
