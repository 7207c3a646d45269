// One registered resource: its definition, its slots, who has it.

import type { JSX } from 'preact';

import { hrefOf, setParameters } from '../../app/router';
import { may } from '../../api/session';
import type { Resource } from '../../api/types';
import { boardVersion } from '../../live/store';
import { allTickets, ticketsVersion } from '../../live/tickets';
import { Drawer } from '../../ui/drawer';
import { count, plural } from '../../ui/format';
import { Countdown, Fact, Facts } from '../../ui/parts';
import { forget, register } from './edit';
import { isRead, registered, takenOf } from './registered';

const MOST_SLOTS = 1_000; // above that the API does not list them, and nobody would look through them
const MOST_HOLDERS = 50;

const close = (): void => setParameters({ row: null }, 'push');
const hereOf = (name: string): string => hrefOf('resources', { row: name });

export function Detail({ name, resource }: { name: string; resource: Resource | undefined }): JSX.Element {
  boardVersion.value;
  ticketsVersion.value;
  if (resource === undefined) {
    return (
      <Drawer title={name} kind="Resource" onClose={close}>
        <p class="quiet">{isRead.value ? 'It is not registered.' : 'Reading…'} <a href={hrefOf('reservations', { row: name })}>Its reservation</a></p>
      </Drawer>
    );
  }
  const children = registered.value.filter((other) => other.ancestors.at(-1) === name);
  const users = registered.value.filter((other) => other.blocks.includes(name));
  const waiting = [...allTickets().values()].filter((ticket) => ticket.resources.includes(name)).length;
  return (
    <Drawer title={name} kind={resource.capacity > 1 ? 'Pool' : 'Resource'} onClose={close}>
      <Facts>
        {resource.capacity > 1 && <Fact name="Taken">{count(takenOf(resource).length)} of {count(resource.capacity)} slots</Fact>}
        {resource.ancestors.length > 0 && <Fact name="Stands under"><Names names={resource.ancestors} between=" › " /></Fact>}
        {children.length > 0 && <Fact name="Above"><Names names={children.map((child) => child.name)} between=", " /></Fact>}
        {resource.blocks.length > 0 && <Fact name="Takes with it"><Names names={resource.blocks} between=", " /></Fact>}
        {users.length > 0 && <Fact name="Taken with"><Names names={users.map((user) => user.name)} between=", " /></Fact>}
        {waiting > 0 && <Fact name="Waiting"><a href={hrefOf('waiting', { resource: name })}>{plural(waiting, 'ticket')}</a></Fact>}
      </Facts>
      {resource.capacity > 1 && resource.capacity <= MOST_SLOTS && <Slots resource={resource} />}
      <Holders resource={resource} />
      <div class="actions">
        {may('write') && <button type="button" onClick={() => void register(resource)}>Edit…</button>}
        {may('admin') && <button type="button" class="danger" onClick={() => void forget(resource)}>Forget…</button>}
      </div>
    </Drawer>
  );
}

function Names({ names, between }: { names: readonly string[]; between: string }): JSX.Element {
  return <>{names.map((name, at) => <span key={name}>{at > 0 && between}<a href={hereOf(name)}>{name}</a></span>)}</>;
}

/** Every slot as a square: who has it is told by its name. */
function Slots({ resource }: { resource: Resource }): JSX.Element {
  const taken = new Map(takenOf(resource).map((row) => [row.resource, row]));
  return (
    <section aria-label="Slots">
      <h3>Slots</h3>
      <ul class="slots">
        {Array.from({ length: resource.capacity }, (_, at) => {
          const slot = `${resource.name}_${at}`;
          const row = taken.get(slot);
          const words = row === undefined ? `${slot}, free` : `${slot}, held by ${row.requester}`;
          return (
            <li key={slot}>
              {row === undefined
                ? <span role="img" class="slot" title={words} aria-label={words}>{at}</span>
                : <a class="slot taken" title={words} aria-label={words} href={hrefOf('reservations', { row: slot })}>{at}</a>}
            </li>
          );
        })}
      </ul>
    </section>
  );
}

function Holders({ resource }: { resource: Resource }): JSX.Element {
  const taken = takenOf(resource);
  return (
    <section aria-label="Holders">
      <h3>Holders</h3>
      {taken.length === 0 && <p class="quiet">Nobody holds it.</p>}
      <ul class="event-list">
        {taken.slice(0, MOST_HOLDERS).map((row) => (
          <li key={row.resource}>
            <a class="one-line" href={hrefOf('reservations', { row: row.resource })}>{row.resource}</a>
            <span>{row.requester}</span>
            <Countdown iso={row.expiresAt} />
          </li>
        ))}
      </ul>
      {taken.length > MOST_HOLDERS && <p class="quiet">and {count(taken.length - MOST_HOLDERS)} more</p>}
    </section>
  );
}
