// What happens, as it happens; and what happened before.

import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';

import { addShortcut } from '../../app/keyboard';
import { hrefOf, parameter, setParameters } from '../../app/router';
import { describe, KINDS } from '../../live/describe';
import type { StreamEvent } from '../../live/events';
import { streamPosition } from '../../live/probe';
import { Drawer } from '../../ui/drawer';
import { count } from '../../ui/format';
import { Badge, Empty, Fact, Facts, Moment, Name } from '../../ui/parts';
import { Table, type Column } from '../../ui/table';
import {
  isPaused, isReading, isStart, kind, missedWhilePaused, readFault, readFirst, readMore, search, shown, togglePause,
} from './feed';

const openEvent = parameter('row');

const COLUMNS: Column<StreamEvent>[] = [
  { id: 'time', title: 'When', width: '7rem', onPhone: 'end', cell: (event) => <Moment iso={event.timestamp} /> },
  { id: 'what', title: 'What', width: '11rem', onPhone: 'second', cell: (event) => <What event={event} /> },
  { id: 'subject', title: 'Resource', width: 'minmax(9rem, 1.6fr)', onPhone: 'title', cell: (event) => <Name text={describe(event).subject} /> },
  { id: 'requester', title: 'Who', width: 'minmax(8rem, 1.2fr)', onPhone: 'second', cell: (event) => <Name text={describe(event).requester} /> },
  { id: 'detail', title: 'Details', width: 'minmax(10rem, 2.4fr)', onPhone: 'none', cell: (event) => <Because event={event} /> },
];

const keyOf = (event: StreamEvent): string => event.id ?? `live ${event.serial}`;

export default function Events(): JSX.Element {
  const rows = shown.value;
  const position = streamPosition.value > 0;
  useEffect(readFirst, [position]);
  useEffect(() => addShortcut({ keys: 'p', what: 'Pause or go on', run: togglePause }), []);
  const open = rows.find((event) => keyOf(event) === openEvent.value);
  return (
    <>
      <Toolbar />
      {readFault.value !== null && <p class="notice">Earlier events could not be read: {readFault.value}</p>}
      <div class="split">
        <div class="pane">
          {rows.length > 0
            ? (
              <Table label="Events" columns={COLUMNS} rows={rows} version={0} keyOf={keyOf} openKey={openEvent.value}
                onOpen={(event) => setParameters({ row: keyOf(event) }, 'push')} />
            )
            : <Empty title={search.value + kind.value === '' ? 'Nothing has happened lately.' : 'No event matches.'}><p>What happens from now on appears here.</p></Empty>}
          <Earlier />
        </div>
        {openEvent.value !== '' && <Details event={open} />}
      </div>
    </>
  );
}

function Toolbar(): JSX.Element {
  const missed = missedWhilePaused.value;
  return (
    <div class="toolbar">
      <h1>Events</h1>
      <p class="tally" id="tally"><strong>{count(shown.value.length)}</strong> listed</p>
      <input class="search" type="search" aria-label="Search events" placeholder="Search names, reasons, keys…" value={search.value}
        onInput={(input) => setParameters({ q: input.currentTarget.value })} />
      <label>Show
        <select value={kind.value} onChange={(change) => setParameters({ kind: change.currentTarget.value })}>
          <option value="">everything</option>
          {Object.entries(KINDS).map(([name, { title }]) => <option key={name} value={name}>{title}</option>)}
          <option value="own">Your platform’s own</option>
        </select>
      </label>
      <button type="button" id="pause" aria-pressed={isPaused.value} onClick={togglePause}>
        {isPaused.value ? `Go on${missed > 0 ? ` (${count(missed)} new)` : ''}` : 'Pause'}
      </button>
    </div>
  );
}

function Earlier(): JSX.Element | null {
  if (isStart.value) return <p class="earlier quiet">There is nothing earlier: events are kept for an hour at most.</p>;
  return (
    <p class="earlier">
      <button type="button" disabled={isReading.value} onClick={() => void readMore()}>{isReading.value ? 'Reading…' : 'Show earlier events'}</button>
    </p>
  );
}

function What({ event }: { event: StreamEvent }): JSX.Element {
  const { title, tone } = describe(event);
  return <Badge tone={tone}>{title}</Badge>;
}

function Because({ event }: { event: StreamEvent }): JSX.Element | null {
  const { detail } = describe(event);
  return detail === '' ? null : <span class="one-line quiet" title={detail}>{detail}</span>;
}

const close = (): void => setParameters({ row: null }, 'push');

/** The event in full: as a sentence, its facts, and as programs get it. */
function Details({ event }: { event: StreamEvent | undefined }): JSX.Element {
  if (event === undefined) {
    return <Drawer title="An event" kind="Event" onClose={close}><p class="quiet">It is not among those that are listed.</p></Drawer>;
  }
  const { title, subject, requester, detail } = describe(event);
  const { serial: _, ...sent } = event;
  return (
    <Drawer title={subject === '' ? title : subject} kind={`Event: ${title}`} onClose={close}>
      <Facts>
        <Fact name="When"><Moment iso={event.timestamp} /></Fact>
        {requester !== '' && <Fact name="Who"><a href={hrefOf('reservations', { holder: requester })}>{requester}</a></Fact>}
        {detail !== '' && <Fact name="Details">{detail}</Fact>}
        {event.apiKeyLabel && <Fact name="Key">{event.apiKeyLabel}</Fact>}
        {event.resource && <Fact name="Resource"><a href={hrefOf('reservations', { row: event.resource })}>{event.resource}</a></Fact>}
        {event.id === null && <Fact name="Kept"><span class="quiet">No: a refusal is told once, live</span></Fact>}
      </Facts>
      {event.changes && (
        <section aria-label="Changes">
          <h3>Changes</h3>
          <ul class="event-list">
            {event.changes.map((change) => (
              <li key={change.resource}>
                <a class="one-line" href={hrefOf('reservations', { row: change.resource })}>{change.resource}</a>
                <span class="quiet">{change.explanation.toLowerCase().replaceAll('_', ' ')}</span><Name text={change.requester} />
              </li>
            ))}
          </ul>
        </section>
      )}
      <section aria-label="As it was sent">
        <h3>As it was sent</h3>
        <pre class="json" tabIndex={0} aria-label="The event as JSON">{JSON.stringify(sent, null, 2)}</pre>
      </section>
    </Drawer>
  );
}
