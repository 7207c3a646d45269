// eventsource 2.x, as the documents show it: headers beside the URL. Prints a line of JSON per thing seen.
import EventSource from 'eventsource-2';
import { listen } from './listen.mjs';

listen(new EventSource(`${process.env.HOLDFAST_URL}/api/v1/events`, { headers: { 'X-Api-Key': process.env.HOLDFAST_KEY } }));
