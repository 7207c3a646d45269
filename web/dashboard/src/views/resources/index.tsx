// What is registered: pools, trees, blockers; what of it is taken, and by whom.

import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';

import { parameter, setParameters } from '../../app/router';
import { may } from '../../api/session';
import type { Resource } from '../../api/types';
import { boardVersion } from '../../live/store';
import { allTickets, ticketsVersion } from '../../live/tickets';
import { count } from '../../ui/format';
import { Command, Empty, Name } from '../../ui/parts';
import { Table, type Column } from '../../ui/table';
import { Detail } from './detail';
import { register } from './edit';
import { PlanDialog, isPlanOpen } from './plan-dialog';
import { isRead, nodesAboveHeld, pathOf, readFault, readIfOld, registered, takenOf, useOf, type Use } from './registered';
import { UseBar } from './use-bar';
import './resources.css';

const openName = parameter('row');
const search = parameter('q');
const state = parameter('use');
const kind = parameter('kind');

interface Line {
  resource: Resource;
  use: Use;
  /** Who has it, the first few. */
  holders: string;
  waiting: number;
}

const COLUMNS: Column<Line>[] = [
  { id: 'name', title: 'Resource', width: 'minmax(12rem, 2fr)', onPhone: 'title', cell: (line) => <Title line={line} /> },
  { id: 'use', title: 'Use', width: '15rem', onPhone: 'second', cell: (line) => <UseBar resource={line.resource} use={line.use} /> },
  { id: 'holders', title: 'Holders', width: 'minmax(9rem, 2fr)', onPhone: 'none', cell: (line) => (line.holders === '' ? null : <Name text={line.holders} />) },
  { id: 'waiting', title: 'Waiting', width: '5rem', isNumber: true, onPhone: 'end', cell: (line) => (line.waiting === 0 ? null : `${count(line.waiting)} ${line.waiting === 1 ? 'waits' : 'wait'}`) },
  { id: 'blocks', title: 'Takes with it', width: 'minmax(8rem, 1fr)', onPhone: 'none', cell: (line) => (line.resource.blocks.length === 0 ? null : <Name text={line.resource.blocks.join(', ')} />) },
];

export default function Resources(): JSX.Element {
  const version = boardVersion.value + ticketsVersion.value;
  useEffect(readIfOld, []);
  const lines = linesOf();
  const open = registered.value.find((resource) => resource.name === openName.value);
  return (
    <>
      <Toolbar lines={lines} />
      {readFault.value !== null && <p class="notice">What is registered could not be read: {readFault.value}</p>}
      <div class="split">
        <div class="pane">
          {lines.length > 0 || !isRead.value
            ? (
              <Table label="Resources" columns={COLUMNS} rows={lines} version={version} keyOf={(line) => line.resource.name}
                openKey={openName.value} onOpen={(line) => setParameters({ row: line.resource.name }, 'push')} />
            )
            : <Nothing />}
        </div>
        {openName.value !== '' && <Detail name={openName.value} resource={open} />}
      </div>
      {isPlanOpen.value && <PlanDialog />}
    </>
  );
}

const KNOWN_LINES = new WeakMap<Resource, Line>();

/** A line that says the same is the same object, so that its row is not drawn again. */
function lineOf(resource: Resource, heldBelow: ReadonlySet<string>, waiting: number): Line {
  const taken = takenOf(resource);
  const names = [...new Set(taken.slice(0, 20).map((row) => row.requester))];
  const holders = names.slice(0, 3).join(', ') + (names.length > 3 ? ' and others' : '');
  const use = useOf(resource, heldBelow);
  const known = KNOWN_LINES.get(resource);
  const marks = `${taken.length}`;
  if (known !== undefined && known.use === use && known.holders === holders && known.waiting === waiting && TAKEN.get(known) === marks) return known;
  const line = { resource, use, holders, waiting };
  TAKEN.set(line, marks);
  KNOWN_LINES.set(resource, line);
  return line;
}

const TAKEN = new WeakMap<Line, string>();

function linesOf(): Line[] {
  const all = registered.value;
  const heldBelow = nodesAboveHeld(all);
  const waiting = new Map<string, number>();
  for (const ticket of allTickets().values()) {
    for (const name of ticket.resources) waiting.set(name, (waiting.get(name) ?? 0) + 1);
  }
  const needle = search.value.trim().toLowerCase();
  const lines: Line[] = [];
  for (const resource of all) {
    const line = lineOf(resource, heldBelow, waiting.get(resource.name) ?? 0);
    if (needle !== '' && !pathOf(resource).toLowerCase().includes(needle) && !line.holders.toLowerCase().includes(needle)) continue;
    if (state.value === 'free' ? line.use !== 'free' : state.value === 'busy' && line.use === 'free') continue;
    if (kind.value !== '' && !isOfKind(resource, kind.value)) continue;
    lines.push(line);
  }
  return lines;
}

function isOfKind(resource: Resource, wanted: string): boolean {
  if (wanted === 'pools') return resource.capacity > 1;
  if (wanted === 'trees') return resource.ancestors.length > 0 || registered.value.some((other) => other.ancestors.includes(resource.name));
  return wanted !== 'blockers' || resource.blocks.length > 0;
}

function Title({ line }: { line: Line }): JSX.Element {
  const { resource } = line;
  // Below a parent that the filter hides, the path says where it is.
  return (
    <span class="one-line" title={pathOf(resource)} style={{ paddingInlineStart: `${Math.min(resource.ancestors.length, 8) * 18}px` }}>
      {resource.ancestors.length > 0 && <span class="quiet" aria-hidden="true">└ </span>}{resource.name}
    </span>
  );
}

function Toolbar({ lines }: { lines: Line[] }): JSX.Element {
  const busy = lines.filter((line) => line.use !== 'free').length;
  return (
    <div class="toolbar">
      <h1>Resources</h1>
      <p class="tally" id="tally"><strong>{count(lines.length)}</strong> registered, {count(lines.length - busy)} free</p>
      <input class="search" type="search" aria-label="Search resources" placeholder="Search names and holders…" value={search.value}
        onInput={(input) => setParameters({ q: input.currentTarget.value })} />
      <label>Show
        <select value={state.value} onChange={(change) => setParameters({ use: change.currentTarget.value })}>
          <option value="">free and busy</option><option value="free">free</option><option value="busy">busy</option>
        </select>
      </label>
      <label>of
        <select value={kind.value} onChange={(change) => setParameters({ kind: change.currentTarget.value })}>
          <option value="">every kind</option><option value="pools">pools</option><option value="trees">trees</option><option value="blockers">with blockers</option>
        </select>
      </label>
      <span class="spacer" />
      {may('write') && <button type="button" onClick={() => void register(null)}>Register…</button>}
      <button type="button" onClick={() => (isPlanOpen.value = true)}>Plan a file…</button>
    </div>
  );
}

function Nothing(): JSX.Element {
  if (registered.value.length > 0) return <Empty title="No resource matches." />;
  return (
    <Empty title="Nothing is registered.">
      <p>A plain name needs no registration. Pools, trees and blockers do, and what is registered is seen here when it is free, too.</p>
      <Command text={'holdfast register resources.toml --plan'} />
    </Empty>
  );
}
