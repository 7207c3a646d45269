// How reservations are sorted, searched and filtered.

import type { Row } from '../../live/board';
import { byText, type Compare } from '../../live/sorted';
import type { Sort } from '../../ui/table';

const ORDERS: Record<string, Compare<Row>> = {
  resource: (a, b) => byText(a.resource, b.resource),
  requester: (a, b) => byText(a.requester, b.requester),
  note: (a, b) => byText(a.note ?? '\uffff', b.note ?? '\uffff'),
  type: (a, b) => byText(a.resourceType, b.resourceType),
  since: (a, b) => byText(a.reservedAt, b.reservedAt),
  ends: (a, b) => byText(a.expiresAt ?? '\uffff', b.expiresAt ?? '\uffff'), // never: last
  fence: (a, b) => a.fencingToken - b.fencingToken,
};

/** A total order: equal rows follow their names. */
export function orderOf({ column, isDescending }: Sort): Compare<Row> {
  const chosen = ORDERS[column] ?? (ORDERS.since as Compare<Row>);
  const total: Compare<Row> = (a, b) => chosen(a, b) || byText(a.resource, b.resource);
  return isDescending ? (a, b) => total(b, a) : total;
}

export const FIRST_SORT: Sort = { column: 'since', isDescending: true }; // what just happened is what a watcher looks for

/** `ends` or `-ends`, as the address has it. */
export function readSort(text: string): Sort {
  const column = text.replace(/^-/, '');
  return column in ORDERS ? { column, isDescending: text.startsWith('-') } : FIRST_SORT;
}

export function writeSort(sort: Sort): string | null {
  if (sort.column === FIRST_SORT.column && sort.isDescending === FIRST_SORT.isDescending) return null;
  return `${sort.isDescending ? '-' : ''}${sort.column}`;
}

/** What is shown of what is held. All that is not empty has to match. */
export interface Filter {
  /** In any case, somewhere in the resource, its pool, path, requester, note, type or key. */
  search: string;
  requester: string;
  type: string;
  end: string;
}

export function matcherOf({ search, requester, type, end }: Filter): (row: Row) => boolean {
  const needle = search.trim().toLowerCase();
  const has = (text: string | null | undefined): boolean => text != null && text.toLowerCase().includes(needle);
  return (row) => (requester === '' || row.requester === requester)
    && (type === '' || row.resourceType === type)
    && (end === '' || (end === 'never') === (row.expiresAt == null))
    && (needle === '' || has(row.resource) || has(row.requester) || has(row.note) || has(row.pool) || has(row.reservedAtPath)
      || has(row.resourceType) || has(row.apiKeyLabel));
}
