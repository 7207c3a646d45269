// Who waits, for what, and how long yet.

import type { JSX } from 'preact';

import { hrefOf, parameter, setParameters } from '../../app/router';
import { call } from '../../api/client';
import { inWords } from '../../api/errors';
import { may } from '../../api/session';
import type { Shape, Ticket } from '../../api/types';
import { byText } from '../../live/sorted';
import { board, boardVersion } from '../../live/store';
import { allTickets, hasMoreTickets, ticketsFault, ticketsVersion } from '../../live/tickets';
import { ask } from '../../ui/dialog';
import { Drawer } from '../../ui/drawer';
import { count, plural } from '../../ui/format';
import { Age, Badge, Command, Countdown, Empty, Fact, Facts, Name } from '../../ui/parts';
import { Table, type Column, type Sort } from '../../ui/table';
import { tell } from '../../ui/toasts';

const openTicket = parameter('row');
const search = parameter('q');
const resource = parameter('resource');
const sortText = parameter('sort');

const COLUMNS: Column<Ticket>[] = [
  { id: 'resource', title: 'For', width: 'minmax(10rem, 2fr)', isSortable: true, onPhone: 'title', cell: (ticket) => <Wanted ticket={ticket} /> },
  { id: 'place', title: 'Place', width: '4rem', isSortable: true, onPhone: 'second', cell: (ticket) => <Place ticket={ticket} /> },
  { id: 'requester', title: 'Who', width: 'minmax(8rem, 1.5fr)', isSortable: true, onPhone: 'second', cell: (ticket) => <Name text={ticket.requester ?? 'several'} /> },
  { id: 'priority', title: 'Priority', width: '5rem', isSortable: true, onPhone: 'none', cell: (ticket) => ticket.priority },
  { id: 'since', title: 'Waits', width: '6rem', isSortable: true, onPhone: 'end', cell: (ticket) => <Age iso={ticket.since} /> },
  { id: 'expected', title: 'Expected in', width: '7rem', isSortable: true, onPhone: 'none', cell: (ticket) => <Countdown iso={ticket.expectedBy} never="not known" /> },
  { id: 'until', title: 'Gives up in', width: '7rem', isSortable: true, onPhone: 'none', cell: (ticket) => <Countdown iso={ticket.waitExpiresAt} /> },
  { id: 'note', title: 'Note', width: 'minmax(6rem, 1fr)', onPhone: 'none', cell: (ticket) => (ticket.note ? <Name text={ticket.note} /> : null) },
];

const wantedOf = (ticket: Ticket): string => ticket.resources.join(', ');

const ORDERS: Record<string, (a: Ticket, b: Ticket) => number> = {
  resource: (a, b) => byText(wantedOf(a), wantedOf(b)) || (a.place ?? 0) - (b.place ?? 0),
  place: (a, b) => (a.place ?? 0) - (b.place ?? 0),
  requester: (a, b) => byText(a.requester ?? '', b.requester ?? ''),
  priority: (a, b) => a.priority - b.priority,
  since: (a, b) => byText(a.since, b.since),
  expected: (a, b) => byText(a.expectedBy ?? '\uffff', b.expectedBy ?? '\uffff'),
  until: (a, b) => byText(a.waitExpiresAt, b.waitExpiresAt),
};

export default function Waiting(): JSX.Element {
  const version = ticketsVersion.value;
  const all = [...allTickets().values()];
  const sort = readSort(sortText.value);
  const rows = shownOf(all, sort);
  const open = allTickets().get(openTicket.value);
  return (
    <>
      <Toolbar all={all} shown={rows.length} />
      {ticketsFault.value !== null && <p class="notice">Who waits could not be read: {inWords(ticketsFault.value)}</p>}
      {hasMoreTickets.value && <p class="notice">More wait than are listed: these are {count(all.length)} of them.</p>}
      <div class="split">
        <div class="pane">
          {rows.length > 0
            ? (
              <Table label="Waiting" columns={COLUMNS} rows={rows} version={version} keyOf={(ticket) => ticket.ticket} sort={sort}
                onSort={(chosen) => setParameters({ sort: `${chosen.isDescending ? '-' : ''}${chosen.column}` })}
                onOpen={(ticket) => setParameters({ row: ticket.ticket }, 'push')} openKey={openTicket.value} />
            )
            : <Nothing isFiltered={all.length > 0} />}
        </div>
        {openTicket.value !== '' && <Detail ticket={open} />}
      </div>
    </>
  );
}

function readSort(text: string): Sort {
  const column = text.replace(/^-/, '');
  return column in ORDERS ? { column, isDescending: text.startsWith('-') } : { column: 'resource', isDescending: false };
}

function shownOf(all: Ticket[], { column, isDescending }: Sort): Ticket[] {
  const needle = search.value.trim().toLowerCase();
  const has = (text: string | null | undefined): boolean => text != null && text.toLowerCase().includes(needle);
  const order = ORDERS[column] ?? (ORDERS.resource as (a: Ticket, b: Ticket) => number);
  return all
    .filter((ticket) => resource.value === '' || ticket.resources.includes(resource.value))
    .filter((ticket) => needle === '' || has(ticket.requester) || has(ticket.note) || has(ticket.apiKeyLabel) || ticket.resources.some(has))
    .sort((a, b) => (isDescending ? order(b, a) : order(a, b)) || byText(a.ticket, b.ticket));
}

function Toolbar({ all, shown }: { all: Ticket[]; shown: number }): JSX.Element {
  const names = new Set(all.flatMap((ticket) => ticket.resources));
  return (
    <div class="toolbar">
      <h1>Waiting</h1>
      <p class="tally" id="tally">
        <strong>{count(shown)}</strong>{shown !== all.length && ` of ${count(all.length)}`} {all.length === 1 ? 'waits' : 'wait'}
        {names.size > 0 && ` for ${plural(names.size, 'resource')}`}
      </p>
      <input class="search" type="search" aria-label="Search who waits" placeholder="Search names and notes…" value={search.value}
        onInput={(input) => setParameters({ q: input.currentTarget.value })} />
      {resource.value !== '' && <button type="button" onClick={() => setParameters({ resource: null })}>For: {resource.value} ×</button>}
    </div>
  );
}

function Wanted({ ticket }: { ticket: Ticket }): JSX.Element {
  return (
    <>
      <Name text={wantedOf(ticket)} />
      {ticket.method && <Badge tone="plain">{METHODS[ticket.method]}</Badge>}
    </>
  );
}

const METHODS = { ALL_OR_NONE: 'all of them', AS_MANY_AS_POSSIBLE: 'any of them', FIRST: 'the first of them' };

function Place({ ticket }: { ticket: Ticket }): JSX.Element {
  if (ticket.place == null) return <span class="quiet">—</span>;
  return ticket.place === 1 ? <Badge tone="good">next</Badge> : <span>{count(ticket.place)}</span>;
}

function Nothing({ isFiltered }: { isFiltered: boolean }): JSX.Element {
  if (isFiltered) return <Empty title="Nobody who waits matches." />;
  return (
    <Empty title="Nobody waits.">
      <p>Who asks for something that is held may wait for it in line:</p>
      <Command text={'holdfast run deploy --wait 5m -- ./deploy.sh'} />
    </Empty>
  );
}

const close = (): void => setParameters({ row: null }, 'push');

function Detail({ ticket }: { ticket: Ticket | undefined }): JSX.Element {
  if (ticket === undefined) {
    return (
      <Drawer title="A wait that is over" kind="Waiting" onClose={close}>
        <p class="quiet">It was served, or it ended. <a href={hrefOf('events', { q: openTicket.value })}>Its events</a></p>
      </Drawer>
    );
  }
  return (
    <Drawer title={ticket.requester ?? 'A group'} kind="Waiting" onClose={close}>
      <Facts>
        <Fact name="Place"><Place ticket={ticket} /></Fact>
        <Fact name="Waits"><Age iso={ticket.since} /></Fact>
        <Fact name="Expected in"><Countdown iso={ticket.expectedBy} never="not known: a holder ahead has no end" /></Fact>
        <Fact name="Gives up in"><Countdown iso={ticket.waitExpiresAt} /></Fact>
        <Fact name="Priority">{ticket.priority}</Fact>
        {ticket.method && <Fact name="Wants">{METHODS[ticket.method]}</Fact>}
        {ticket.note && <Fact name="Note">{ticket.note}</Fact>}
        {ticket.apiKeyLabel && <Fact name="Key">{ticket.apiKeyLabel}</Fact>}
        <Fact name="Ticket"><code>{ticket.ticket}</code></Fact>
      </Facts>
      <section aria-label="What it waits for">
        <h3>Waits for</h3>
        <ul class="event-list">{ticket.resources.map((name) => <WantedResource key={name} name={name} />)}</ul>
      </section>
      {may('write') && (
        <div class="actions"><button type="button" class="danger" onClick={() => void cancel(ticket)}>Cancel this wait…</button></div>
      )}
    </Drawer>
  );
}

/** What is wanted, and who has it. */
function WantedResource({ name }: { name: string }): JSX.Element {
  boardVersion.value;
  const row = board.row(name);
  return (
    <li>
      <a class="one-line" href={hrefOf('reservations', { row: name })}>{name}</a>
      <span class="quiet">{row ? <>held by {row.requester}, ends in <Countdown iso={row.expiresAt} /></> : 'a pool, or kept for those ahead'}</span>
    </li>
  );
}

async function cancel(ticket: Ticket): Promise<void> {
  const who = ticket.requester ?? 'this group';
  const answer = await ask({
    title: `Cancel the wait of ${who}?`,
    body: <p>It loses its place for {wantedOf(ticket)}, and is told so.</p>,
    action: 'Cancel the wait',
    isDangerous: true,
    run: async () => { await call<Shape<'TicketState'>>('DELETE', `/api/v1/Reservation/tickets/${ticket.ticket}`); },
  });
  if (answer !== null) tell(`${who} does not wait any more.`);
}
