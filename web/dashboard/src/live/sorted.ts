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

  /** In order. Not to be changed; it may be the same array after a change. */
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

  /** Many new rows: merged in one pass, since inserting each would move all behind it. */
  add(rows: readonly Row[]): void {
    const fresh = rows.filter(this.#matches).sort(this.#compare);
    if (fresh.length === 0) return;
    const [old, merged] = [this.#rows, [] as Row[]];
    let at = 0;
    for (const row of fresh) {
      while (at < old.length && this.#compare(old[at] as Row, row) < 0) merged.push(old[at++] as Row);
      merged.push(row);
    }
    while (at < old.length) merged.push(old[at++] as Row);
    this.#rows = merged;
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
