// A short list of events, newest first: the history of one thing.

import type { JSX } from 'preact';

import { describe } from '../live/describe';
import type { StreamEvent } from '../live/events';
import { Badge, Moment, Name } from './parts';

export function EventList({ events, none }: { events: readonly StreamEvent[]; none: string }): JSX.Element {
  if (events.length === 0) return <p class="quiet">{none}</p>;
  return (
    <ol class="event-list">
      {events.map((event) => {
        const { title, tone, requester, detail } = describe(event);
        return (
          <li key={event.id ?? event.serial}>
            <Moment iso={event.timestamp} />
            <span><Badge tone={tone}>{title}</Badge></span>
            <Name text={requester} />
            {detail !== '' && <span class="detail">{detail}</span>}
          </li>
        );
      })}
    </ol>
  );
}
