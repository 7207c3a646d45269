// All that is known of one resource that is, or was, held.

import type { JSX } from 'preact';

import { hrefOf, setParameters } from '../../app/router';
import { may } from '../../api/session';
import { useAbout } from '../../live/about';
import { board, boardVersion } from '../../live/store';
import { allTickets, ticketsVersion } from '../../live/tickets';
import { Drawer } from '../../ui/drawer';
import { EventList } from '../../ui/event-list';
import { count, plural } from '../../ui/format';
import { Age, CopyButton, Countdown, Fact, Facts, Moment } from '../../ui/parts';
import { forceRelease, heldBy, releaseAllOf } from './actions';
import { roleOf } from './columns';

const close = (): void => setParameters({ row: null }, 'push');

export function Detail({ name }: { name: string }): JSX.Element {
  boardVersion.value;
  const row = board.row(name);
  const about = useAbout(name, row?.pool ?? null);
  return (
    <Drawer title={name} kind={row ? 'Held' : 'Free now'} onClose={close}>
      {row ? <Held name={name} /> : <p class="quiet">Nobody holds it at the moment.</p>}
      <Waiters name={name} pool={row?.pool ?? null} />
      <section aria-label="Refusals">
        <h3>Refused to others</h3>
        <EventList events={about.refusals.value} none="Nobody was refused since this page was opened. Refusals are not kept." />
      </section>
      <section aria-label="History">
        <h3>History</h3>
        {about.state.value === 'reading' && <p class="quiet">Reading what is kept of the last hour…</p>}
        {about.state.value === 'failed' && <p class="fault">The history could not be read. What is seen from now on is listed.</p>}
        {about.state.value !== 'reading' && <EventList events={about.events.value} none="Nothing is kept of the last hour." />}
      </section>
    </Drawer>
  );
}

function Held({ name }: { name: string }): JSX.Element | null {
  boardVersion.value;
  const row = board.row(name);
  if (row === undefined) return null;
  const others = heldBy(row.requester).length;
  return (
    <>
      <Facts>
        <Fact name="Holder"><a href={hrefOf('reservations', { holder: row.requester })}>{row.requester}</a></Fact>
        <Fact name="Ends in"><Countdown iso={row.expiresAt} /></Fact>
        <Fact name="Held since"><Moment iso={row.reservedAt} /> (<Age iso={row.reservedAt} />)</Fact>
        {row.note && <Fact name="Note">{row.note}</Fact>}
        {row.pool && row.pool !== row.resource && <Fact name="Slot of"><a href={hrefOf('resources', { row: row.pool })}>{row.pool}</a></Fact>}
        {row.reservedAtPath && <Fact name="Path">{row.reservedAtPath}</Fact>}
        {roleOf(row).filter((role) => role.startsWith('take')).map((role) => <Fact key={role} name="Blocker">{role}</Fact>)}
        <Fact name="Type"><a href={hrefOf('reservations', { type: row.resourceType })}>{row.resourceType}</a></Fact>
        {row.apiKeyLabel && <Fact name="Key">{row.apiKeyLabel}</Fact>}
        <Fact name="Fence"><span class="number">{row.fencingToken}</span> <CopyButton text={String(row.fencingToken)} what="the fencing token" /></Fact>
      </Facts>
      {may('admin') && (
        <div class="actions">
          <button type="button" class="danger" onClick={() => void forceRelease(row)}>Release by force…</button>
          {others > 1 && (
            <button type="button" class="danger" onClick={() => void releaseAllOf(row.requester)}>Release all {count(others)} of this holder…</button>
          )}
        </div>
      )}
    </>
  );
}

/** Who waits for it, or for a slot of its pool. */
function Waiters({ name, pool }: { name: string; pool: string | null }): JSX.Element {
  ticketsVersion.value;
  const waiting = [...allTickets().values()]
    .filter((ticket) => ticket.resources.some((resource) => resource === name || resource === pool))
    .sort((a, b) => (a.place ?? Infinity) - (b.place ?? Infinity));
  return (
    <section aria-label="Waiting">
      <h3>{waiting.length === 0 ? 'Waiting' : plural(waiting.length, 'waits', 'wait')}</h3>
      {waiting.length === 0
        ? <p class="quiet">Nobody waits for it.</p>
        : (
          <ol class="event-list">
            {waiting.slice(0, 20).map((ticket) => (
              <li key={ticket.ticket}>
                <span class="number">{ticket.place === null ? '' : `${ticket.place}.`}</span>
                <a href={hrefOf('waiting', { row: ticket.ticket })} class="one-line">{ticket.requester ?? 'a group'}</a>
                <Age iso={ticket.since} />
              </li>
            ))}
          </ol>
        )}
    </section>
  );
}
