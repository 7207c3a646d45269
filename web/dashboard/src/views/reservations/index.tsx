// All that is held now.

import type { JSX } from 'preact';

import { setParameters, parameter } from '../../app/router';
import { serverNowMs } from '../../api/clock';
import { may } from '../../api/session';
import type { Row } from '../../live/board';
import { board } from '../../live/store';
import { hasList } from '../../live/truth';
import { count, plural } from '../../ui/format';
import { Command, Empty } from '../../ui/parts';
import { Table } from '../../ui/table';
import { reset } from './actions';
import { COLUMNS } from './columns';
import { Detail } from './detail';
import { writeSort } from './order';
import { filter, isFiltered, shown, shownVersion, sort } from './rows';

const FRESH_MS = 1_600;
const openRow = parameter('row');

export default function Reservations(): JSX.Element {
  const version = shownVersion.value;
  const openName = openRow.value;
  return (
    <>
      <Toolbar listed={shown.rows.length} held={board.size} />
      <div class="split">
        <div class="pane">
          {shown.rows.length > 0 || !hasList.value
            ? (
              <Table label="Reservations" columns={COLUMNS} rows={shown.rows} version={version} keyOf={nameOf} sort={sort.value}
                onSort={(chosen) => setParameters({ sort: writeSort(chosen) })} openKey={openName}
                onOpen={(row) => setParameters({ row: row.resource }, 'push')} classOf={freshness} />
            )
            : <Nothing />}
        </div>
        {openName !== '' && <Detail name={openName} />}
      </div>
    </>
  );
}

const nameOf = (row: Row): string => row.resource;
const freshness = (row: Row): string => (serverNowMs() - Date.parse(row.reservedAt) < FRESH_MS ? 'fresh' : '');

/** Counts come from the view, which draws the rows: the bar is drawn for more reasons than they are, and would be ahead of them. */
function Toolbar({ listed, held }: { listed: number; held: number }): JSX.Element {
  const { search, requester, type, end } = filter.value;
  return (
    <div class="toolbar">
      <h1>Reservations</h1>
      <p class="tally" id="tally">
        {isFiltered.value ? <><strong>{count(listed)}</strong> of {count(held)} held</> : <><strong>{count(held)}</strong> held</>}
      </p>
      <input class="search" type="search" aria-label="Search reservations" placeholder="Search names, holders, notes…" value={search}
        onInput={(input) => setParameters({ q: input.currentTarget.value })} />
      <label>Ends
        <select value={end} onChange={(change) => setParameters({ end: change.currentTarget.value })}>
          <option value="">at any time</option><option value="some">some time</option><option value="never">never</option>
        </select>
      </label>
      {requester !== '' && <button type="button" onClick={() => setParameters({ holder: null })}>Holder: {requester} ×</button>}
      {type !== '' && <button type="button" onClick={() => setParameters({ type: null })}>Type: {type} ×</button>}
      <span class="spacer" />
      {may('admin') && held > 0 && <button type="button" onClick={() => void reset()}>Release everything…</button>}
    </div>
  );
}

function Nothing(): JSX.Element {
  if (board.size > 0) return <Empty title={`None of ${plural(board.size, 'reservation')} matches.`} />;
  return (
    <Empty title="Nothing is reserved.">
      <p>Reserve something, and it appears here by itself:</p>
      <Command text={`curl -X POST ${location.origin}/api/v1/Reservation/reserve \\
  -H "X-Api-Key: $HOLDFAST_KEY" -H 'Content-Type: application/json' \\
  -d '[{"requester":"me","resource":"demo","ttlSeconds":60}]'`} />
    </Empty>
  );
}
