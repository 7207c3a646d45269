import { byText } from '../../live/sorted';
import type { Sort } from '../../ui/table';

/** `depth` or `-depth`, as the address has it. */
export function readOrder(text: string, columns: readonly string[], first: Sort): Sort {
  const column = text.replace(/^-/, '');
  return columns.includes(column) ? { column, isDescending: text.startsWith('-') } : first;
}

export function writeOrder(sort: Sort, first: Sort): string | null {
  if (sort.column === first.column && sort.isDescending === first.isDescending) return null;
  return `${sort.isDescending ? '-' : ''}${sort.column}`;
}

/** Equal rows follow their names. */
export function sorted<Row>(
  rows: Row[],
  compare: ((a: Row, b: Row) => number) | undefined,
  sort: Sort,
  nameOf: (row: Row) => string,
): Row[] {
  const sign = sort.isDescending ? -1 : 1;
  return rows.sort((a, b) => sign * (compare?.(a, b) ?? 0) || byText(nameOf(a), nameOf(b)));
}
