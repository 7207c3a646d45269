// A table of any length: only the rows in sight are drawn. A grid for screen readers, reached by Tab, walked with the arrows,
// opened with Enter. On a phone each row becomes a card of two lines.

import { Component, createRef, type ComponentChildren, type JSX, type RefObject } from 'preact';
import { useId, useLayoutEffect, useRef, useState } from 'preact/hooks';

import { isNarrow } from '../app/theme';
import { useVirtualRows } from './virtual';

export interface Column<Row> {
  id: string;
  title: string;
  /** A track of CSS's grid: `minmax(8rem, 2fr)`. */
  width: string;
  cell: (row: Row) => ComponentChildren;
  isSortable?: boolean;
  isNumber?: boolean;
  /** Where it stands in the card on a phone; `none` leaves it to the drawer. The rows' name is the `title`. */
  onPhone: 'title' | 'end' | 'second' | 'none';
}

export interface Sort {
  column: string;
  isDescending: boolean;
}

const ROW_HEIGHT = 38; // px, as in table.css
const CARD_HEIGHT = 66;

interface TableProps<Row> {
  /** What the table is of: its name for screen readers. */
  label: string;
  columns: Column<Row>[];
  rows: readonly Row[];
  /** Changes when `rows` has: the array may be the same one. */
  version: number;
  keyOf: (row: Row) => string;
  sort?: Sort;
  onSort?: (sort: Sort) => void;
  onOpen?: (row: Row) => void;
  /** The row whose drawer is open. */
  openKey?: string | null;
  /** Marks a row: for what just came, say. */
  classOf?: (row: Row) => string;
}

export function Table<Row>(props: TableProps<Row>): JSX.Element {
  const { columns, rows, keyOf } = props;
  const scroll = useRef<HTMLDivElement>(null);
  const id = useId();
  const [activeKey, setActiveKey] = useState<string | null>(null);
  const narrow = isNarrow.value;
  const rowHeight = narrow ? CARD_HEIGHT : ROW_HEIGHT;
  const width = useWidth(scroll);
  const virtual = useVirtualRows(rows.length, rowHeight, scroll);
  const shown = narrow ? columns.filter((column) => column.onPhone !== 'none') : fitting(columns, width);
  const active = useActiveRow(rows, keyOf, activeKey);

  // The height of all rows, and the tracks of each: by the object model, since the policy allows no styles in attributes.
  const body = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    scroll.current?.style.setProperty('--tracks', shown.map((column) => column.width).join(' '));
    scroll.current?.style.setProperty('--least', `${leastWidth(shown as Column<never>[])}px`);
    body.current?.style.setProperty('height', `${rows.length * rowHeight}px`);
  });

  const move = (to: number): void => {
    const index = Math.max(0, Math.min(rows.length - 1, to));
    const row = rows[index];
    if (row === undefined) return;
    setActiveKey(keyOf(row));
    virtual.scrollToIndex(index, { align: 'auto' });
  };
  const onKeyDown = (press: KeyboardEvent): void => {
    if (press.target !== scroll.current || press.ctrlKey || press.metaKey || press.altKey) return;
    const page = Math.max(1, Math.floor((scroll.current?.clientHeight ?? 0) / rowHeight) - 2);
    const steps: Record<string, number> = {
      ArrowDown: active + 1, j: active + 1, ArrowUp: active - 1, k: active - 1,
      PageDown: active + page, PageUp: active - page, Home: 0, End: rows.length - 1,
    };
    const to = steps[press.key];
    const row = rows[active];
    if (to !== undefined) move(to);
    else if ((press.key === 'Enter' || press.key === ' ') && row !== undefined && props.onOpen) props.onOpen(row);
    else return;
    press.preventDefault();
  };

  const items = virtual.getVirtualItems();
  return (
    <div class="table" data-narrow={narrow}>
      {narrow && props.sort && props.onSort && <SortChoice columns={columns} sort={props.sort} onSort={props.onSort} />}
      <div ref={scroll} class="scroll" role="grid" tabIndex={0} aria-label={props.label} aria-rowcount={rows.length + 1}
        aria-colcount={shown.length} aria-activedescendant={active >= 0 ? `${id}-${active}` : undefined}
        onKeyDown={onKeyDown}>
        <div role="rowgroup" class={narrow ? 'unseen' : 'head'}>
          <div role="row" aria-rowindex={1} class="row">
            {shown.map((column) => <Head key={column.id} column={column} narrow={narrow} sort={props.sort} onSort={props.onSort} />)}
          </div>
        </div>
        <div ref={body} role="rowgroup" class="body">
          {items.map((item) => {
            const row = rows[item.index];
            if (row === undefined) return null;
            const key = keyOf(row);
            return (
              <Line key={key} id={`${id}-${item.index}`} row={row} columns={shown} index={item.index} top={item.index * rowHeight}
                narrow={narrow} isActive={item.index === active} isOpen={key === props.openKey}
                marks={props.classOf?.(row) ?? ''}
                onChoose={props.onOpen ? () => { setActiveKey(key); props.onOpen?.(row); } : undefined} />
            );
          })}
        </div>
      </div>
    </div>
  );
}

function useWidth(element: RefObject<HTMLElement | null>): number {
  const [width, setWidth] = useState(Infinity);
  useLayoutEffect(() => {
    if (element.current === null) return;
    setWidth(element.current.clientWidth);
    const observer = new ResizeObserver(([entry]) => { if (entry) setWidth(entry.contentRect.width); });
    observer.observe(element.current);
    return () => observer.disconnect();
  }, []);
  return width;
}

const GAP = 14; // px, as in table.css
const SIDES = 36;
const REM = 16;

/** The width that columns need at least, in pixels. */
function leastWidth(columns: Column<never>[]): number {
  return columns.reduce((sum, column) => sum + GAP + REM * Number.parseFloat(column.width.replace('minmax(', '')), SIDES - GAP);
}

/** Beside a drawer there is room for less: what the drawer tells anyway is left out, from the last column on. */
function fitting<Row>(columns: Column<Row>[], width: number): Column<Row>[] {
  const left = [...columns];
  for (let at = columns.length - 1; at >= 0 && leastWidth(left as Column<never>[]) > width; at--) {
    if (columns[at]?.onPhone === 'none') left.splice(at, 1);
  }
  return left;
}

/** The active row stays the same one while others come and go; one that went gives its place to the next. */
function useActiveRow<Row>(rows: readonly Row[], keyOf: (row: Row) => string, activeKey: string | null): number {
  const last = useRef(-1);
  if (activeKey === null) return -1;
  const here = rows[last.current];
  if (here !== undefined && keyOf(here) === activeKey) return last.current;
  const found = rows.findIndex((row) => keyOf(row) === activeKey);
  last.current = found >= 0 ? found : Math.min(last.current, rows.length - 1);
  return last.current;
}

interface LineProps<Row> {
  id: string;
  row: Row;
  columns: Column<Row>[];
  index: number;
  top: number;
  narrow: boolean;
  isActive: boolean;
  isOpen: boolean;
  marks: string;
  onChoose: (() => void) | undefined;
}

/** A row is drawn again when its object is another one, or its place. */
class Line<Row> extends Component<LineProps<Row>> {
  #line = createRef<HTMLDivElement>();

  override shouldComponentUpdate(next: LineProps<Row>): boolean {
    const now = this.props;
    return next.row !== now.row || next.top !== now.top || next.isActive !== now.isActive || next.isOpen !== now.isOpen
      || next.narrow !== now.narrow || next.marks !== now.marks || next.columns.length !== now.columns.length;
  }

  override componentDidMount(): void {
    this.#place();
  }

  override componentDidUpdate(): void {
    this.#place();
  }

  #place(): void {
    this.#line.current?.style.setProperty('transform', `translateY(${this.props.top}px)`);
  }

  render(): JSX.Element {
    const { id, row, columns, index, narrow, isActive, isOpen, marks, onChoose } = this.props;
    const cell = (column: Column<Row>): JSX.Element => (
      <div key={column.id} role={column.onPhone === 'title' ? 'rowheader' : 'gridcell'} data-column={column.id}
        class={`cell ${column.isNumber ? 'number' : ''} on-phone-${column.onPhone}`}>
        {column.cell(row)}
      </div>
    );
    return (
      <div ref={this.#line} id={id} role="row" aria-rowindex={index + 2} aria-selected={isOpen} data-active={isActive}
        class={`row ${marks} ${onChoose ? 'opens' : ''}`} onClick={onChoose}>
        {narrow ? inLines(columns, cell) : columns.map(cell)}
      </div>
    );
  }
}

/** In a card: the title and what stands at its end, then all the rest. */
function inLines<Row>(columns: Column<Row>[], cell: (column: Column<Row>) => JSX.Element): JSX.Element[] {
  const order = { title: 0, end: 1, second: 2, none: 3 };
  return [...columns].sort((a, b) => order[a.onPhone] - order[b.onPhone]).map(cell);
}

function Head<Row>({ column, narrow, sort, onSort }: {
  column: Column<Row>; narrow: boolean; sort: Sort | undefined; onSort: ((sort: Sort) => void) | undefined;
}): JSX.Element {
  const isSorted = sort?.column === column.id;
  const order = isSorted ? (sort.isDescending ? 'descending' : 'ascending') : undefined;
  const choose = (): void => onSort?.({ column: column.id, isDescending: isSorted ? !sort.isDescending : false });
  return (
    <div role="columnheader" class={`cell ${column.isNumber ? 'number' : ''}`} aria-sort={order}>
      {column.isSortable && onSort && !narrow ? <button type="button" onClick={choose}>{column.title}</button> : column.title}
    </div>
  );
}

/** Cards have no heads to press. */
function SortChoice<Row>({ columns, sort, onSort }: { columns: Column<Row>[]; sort: Sort; onSort: (sort: Sort) => void }): JSX.Element {
  const id = useId();
  return (
    <div class="sort-choice">
      <label for={id}>Sorted by</label>
      <select id={id} value={sort.column} onChange={(change) => onSort({ ...sort, column: change.currentTarget.value })}>
        {columns.filter((column) => column.isSortable).map((column) => <option key={column.id} value={column.id}>{column.title}</option>)}
      </select>
      <button type="button" aria-pressed={sort.isDescending} onClick={() => onSort({ ...sort, isDescending: !sort.isDescending })}>
        {sort.isDescending ? 'Descending' : 'Ascending'}
      </button>
    </div>
  );
}

/** Moves the focus into the table of the view: what `t` does. */
export function focusTable(): void {
  document.querySelector<HTMLElement>('main [role="grid"]')?.focus();
}

