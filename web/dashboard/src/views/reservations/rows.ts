// What is held, in the order and through the filter that the address says.

import { computed, effect, signal } from '@preact/signals';

import { parameter } from '../../app/router';
import type { Row } from '../../live/board';
import { SortedRows } from '../../live/sorted';
import { board, boardVersion } from '../../live/store';
import { matcherOf, orderOf, readSort } from './order';

const sortText = parameter('sort');
export const sort = computed(() => readSort(sortText.value));
const search = parameter('q');
const requester = parameter('holder');
const type = parameter('type');
const end = parameter('end');
export const filter = computed(() => ({ search: search.value, requester: requester.value, type: type.value, end: end.value }));
export const isFiltered = computed(() => Object.values(filter.value).some((part) => part !== ''));

export const shown = new SortedRows<Row>(orderOf(sort.value), matcherOf(filter.value));
const orderings = signal(0);
/** Changes when the shown rows have. */
export const shownVersion = computed(() => boardVersion.value + orderings.value);

board.listen({
  changed: (before, after) => shown.changed(before, after),
  filled: (rows) => shown.add(rows),
  replaced: () => shown.fill(board.rows()),
});
effect(() => {
  shown.order(orderOf(sort.value), matcherOf(filter.value), board.rows());
  orderings.value = orderings.peek() + 1;
});
