import type { JSX } from 'preact';

import type { Row } from '../../live/board';
import { Countdown, Moment, Name } from '../../ui/parts';
import type { Column } from '../../ui/table';

export const COLUMNS: Column<Row>[] = [
  { id: 'resource', title: 'Resource', width: 'minmax(10rem, 2.2fr)', isSortable: true, onPhone: 'title', cell: nameOf },
  { id: 'requester', title: 'Holder', width: 'minmax(8rem, 1.5fr)', isSortable: true, onPhone: 'second', cell: (row) => <Name text={row.requester} /> },
  { id: 'note', title: 'Note', width: 'minmax(7rem, 1.5fr)', isSortable: true, onPhone: 'second', cell: (row) => (row.note ? <Name text={row.note} /> : null) },
  { id: 'ends', title: 'Ends in', width: '6.5rem', isSortable: true, onPhone: 'end', cell: (row) => <Countdown iso={row.expiresAt} /> },
  { id: 'since', title: 'Held since', width: '7rem', isSortable: true, onPhone: 'none', cell: (row) => <Moment iso={row.reservedAt} /> },
  { id: 'type', title: 'Type', width: 'minmax(6rem, 0.7fr)', isSortable: true, onPhone: 'none', cell: (row) => <Name text={row.resourceType} /> },
  { id: 'fence', title: 'Fence', width: '9.5rem', isSortable: true, isNumber: true, onPhone: 'none', cell: (row) => <span class="quiet number">{row.fencingToken}</span> },
];

function nameOf(row: Row): JSX.Element {
  return (
    <>
      <Name text={row.resource} />
      {roleOf(row).map((role) => <small key={role} class="one-line" title={role}>{role}</small>)}
    </>
  );
}

/** What a row is, beyond a plain name: a slot, a blocker, a node of a tree. */
export function roleOf(row: Row): string[] {
  const roles: string[] = [];
  if (row.pool && row.pool !== row.resource) roles.push(`slot of ${row.pool}`);
  if (row.blockerOf?.length) roles.push(`taken with ${row.blockerOf.join(', ')}`);
  if (row.blockers?.length) roles.push(`takes ${row.blockers.join(', ')} with it`);
  if (row.reservedAtPath) roles.push(`at ${row.reservedAtPath}`);
  return roles;
}
