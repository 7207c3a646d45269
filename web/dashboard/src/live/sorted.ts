// Rows in an order, through a filter, kept while they change: a change costs a binary search, not a sort of all.

export type Compare<Row> = (a: Row, b: Row) => number;

export class SortedRows<Row> {
  #rows: Row[] = [];
  #compare: Compare<Row>;
  #matches: (row: Row) => boolean;

  /** @param compare a total order: two different rows are never equal in it */
  constructor(compare: Compare<Row>, matches: (row: Row) => boolean) {
    this.#compare = compare;
    this.#matches = matches;
  }

  /** In order. Not to be changed; the same array as long as its rows change singly. */
  get rows(): readonly Row[] {
    return this.#rows;
  }

  fill(rows: Iterable<Row>): void {
    this.#rows = Array.from(rows).filter(this.#matches).sort(this.#compare);
  }

  order(compare: Compare<Row>, matches: (row: Row) => boolean, rows: Iterable<Row>): void {
    this.#compare = compare;
    this.#matches = matches;
    this.fill(rows);
  }

  changed(before: Row | null, after: Row | null): void {
    if (before !== null && this.#matches(before)) {
      const at = this.#place(before);
      if (this.#rows[at] === before) this.#rows.splice(at, 1);
    }
    if (after !== null && this.#matches(after)) this.#rows.splice(this.#place(after), 0, after);
  }

  /** Where a row is, or would be. */
  #place(row: Row): number {
    let [low, high] = [0, this.#rows.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(this.#rows[middle] as Row, row) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** By a text's bytes' order: fast, and total. */
export function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
