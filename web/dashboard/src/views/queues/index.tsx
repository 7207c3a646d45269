// Queues of others, watched: connections, and of the chosen one its queues, jobs and workers.

import type { JSX } from 'preact';
import { useEffect } from 'preact/hooks';

import { inWords } from '../../api/errors';
import { may } from '../../api/session';
import type { Connection } from '../../api/types';
import { parameter, place, setParameters } from '../../app/router';
import { Badge, Empty } from '../../ui/parts';
import { useReading } from '../../ui/reading';
import { Tabs, type Tab } from '../../ui/tabs';
import { Connections } from './connections';
import { Jobs } from './jobs';
import { useLive, type LiveConnection } from './live';
import { Queues } from './queue-list';
import { readConnections, readQueues } from './reads';
import { FRAMEWORKS, gapInWords, healthOf } from './words';
import { Workers } from './workers';
import './queues.css';

const TABS: readonly Tab[] = [
  { id: 'queues', title: 'Queues' },
  { id: 'jobs', title: 'Jobs' },
  { id: 'workers', title: 'Workers' },
  { id: 'connections', title: 'Connections' },
];

const chosen = parameter('connection');
const shown = parameter('show');

/** A connection as far as this key may see it: names and health take the scope admin. */
export interface Watched {
  id: string;
  name: string;
  connection: Connection | null;
}

export default function QueueMonitor(): JSX.Element {
  const canAdminister = may('admin');
  const connections = useReading<Watched[]>(canAdminister ? readNamed : readUnnamed, [canAdminister], {
    soonMs: 1_000,
    everyMs: 10_000,
  });
  const watched = connections.value ?? [];
  const current = watched.find((one) => one.id === chosen.value) ?? watched[0] ?? null;
  const isEmpty = connections.value !== undefined && watched.length === 0;
  const tabs = canAdminister ? TABS : TABS.filter((known) => known.id !== 'connections');
  const tab = isEmpty ? 'connections' : (tabs.find((known) => known.id === shown.value)?.id ?? 'queues');

  return (
    <>
      <div class="toolbar">
        <h1>Queues</h1>
        {watched.length > 0 && (
          <label>
            Connection
            <select value={current?.id} onChange={(change) => choose(change.currentTarget.value)}>
              {watched.map((one) => (
                <option key={one.id} value={one.id}>
                  {one.name}
                </option>
              ))}
            </select>
          </label>
        )}
        {current?.connection && <HealthBadge connection={current.connection} />}
      </div>
      {!isEmpty && current !== null && (
        <Tabs view="queues" label="Of this connection" tabs={tabs} current={tab} kept={{ connection: current.id }} />
      )}
      {connections.fault !== null && (
        <p class="stale" role="alert">
          {inWords(connections.fault)}
        </p>
      )}
      {connections.value === undefined ? (
        connections.fault === null && (
          <p class="loading" role="status">
            Reading the connections…
          </p>
        )
      ) : tab === 'connections' ? (
        canAdminister ? (
          <Connections connections={watched.flatMap((one) => one.connection ?? [])} onChanged={connections.again} />
        ) : (
          <Empty title="No queue has been seen yet.">
            <p>A key with the scope admin makes a connection to a broker.</p>
          </Empty>
        )
      ) : (
        current !== null && <OfConnection key={current.id} watched={current} tab={tab} />
      )}
    </>
  );
}

async function readNamed(signal: AbortSignal): Promise<Watched[]> {
  const connections = await readConnections(signal);
  return connections.map((connection) => ({ id: connection.id, name: connection.name, connection }));
}

/** Without the scope admin only what the lists name is known. */
async function readUnnamed(signal: AbortSignal): Promise<Watched[]> {
  const { rows } = await readQueues('', '1h', signal);
  const frameworks = new Map(rows.map((row) => [row.connectionId, FRAMEWORKS[row.framework]]));
  return [...frameworks].map(([id, framework]) => ({ id, name: `${framework} ${id.slice(0, 8)}`, connection: null }));
}

/** Filters and open rows belong to one connection. */
function choose(connection: string): void {
  const others = Object.fromEntries(
    [...place.value.parameters.keys()].filter((name) => name !== 'show').map((name) => [name, null]),
  );
  setParameters({ ...others, connection }, 'push');
}

export function HealthBadge({ connection }: { connection: Connection }): JSX.Element {
  const health = healthOf(connection);
  return (
    <span title={health.advice ?? undefined}>
      <Badge tone={health.tone}>{health.label}</Badge>
    </span>
  );
}

function OfConnection({ watched, tab }: { watched: Watched; tab: string }): JSX.Element {
  const live = useLive(watched.id);
  const advice = watched.connection ? healthOf(watched.connection) : null;
  return (
    <>
      {advice !== null && advice.tone !== 'good' && advice.tone !== 'plain' && <p class="stale">{advice.advice}</p>}
      <StreamNotice live={live} />
      {tab === 'jobs' && <Jobs connectionId={watched.id} live={live} />}
      {tab === 'workers' && <Workers connectionId={watched.id} live={live} />}
      {tab === 'queues' && <Queues connectionId={watched.id} live={live} connection={watched.connection} />}
    </>
  );
}

const GAP_SHOWN_MS = 30_000;

/** What is shown is not live, or not whole: said here, since the state beside the page's name is of reservations. */
function StreamNotice({ live }: { live: LiveConnection }): JSX.Element | null {
  const gap = live.gap.value;
  useEffect(() => {
    if (gap === null) return undefined;
    const timer = setTimeout(() => (live.gap.value = null), GAP_SHOWN_MS);
    return () => clearTimeout(timer);
  }, [gap]);
  if (live.state.value === 'lost') {
    return (
      <p class="stale" role="status">
        {live.why.value ?? 'The stream of this connection was lost.'} What is shown may be out of date; trying again.
      </p>
    );
  }
  if (gap !== null)
    return (
      <p class="stale" role="status">
        Some changes of the last seconds may be missing: {gapInWords(gap.reason)}.
      </p>
    );
  return null;
}
