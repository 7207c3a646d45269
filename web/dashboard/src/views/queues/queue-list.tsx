// The queues of a connection: how many jobs wait, how fast they are done, and how many fail.

import type { JSX } from 'preact';
import { useEffect, useMemo } from 'preact/hooks';

import { nowMs } from '../../api/clock';
import { inWords } from '../../api/errors';
import type { Connection, Queue } from '../../api/types';
import { hrefOf, parameter, setParameters } from '../../app/router';
import { byText } from '../../live/sorted';
import { Drawer } from '../../ui/drawer';
import { count, duration } from '../../ui/format';
import { Empty, Fact, Facts, Moment, Name } from '../../ui/parts';
import { useReading } from '../../ui/reading';
import { Table, type Column, type Sort } from '../../ui/table';
import { Figure, Figures } from './figures';
import { HealthBar } from './health-bar';
import { RATE_WINDOW_MS, type LiveConnection } from './live';
import { percent, rate } from './numbers';
import { readQueues, readWorkers } from './reads';
import { readOrder, sorted, writeOrder } from './sorting';
import { useChanges } from './use-changes';
import { consumersInWords } from './words';
import { withHeard } from './workers';

const RANGES: Record<string, string> = {
  '1h': 'the last hour',
  '6h': 'the last 6 hours',
  '24h': 'the last day',
  '7d': 'the last week',
};
const openQueue = parameter('queue');
const range = parameter('range');
const sortText = parameter('sort');
const PACE = { soonMs: 3_000, everyMs: 20_000 };

export function Queues({
  connectionId,
  live,
  connection,
}: {
  connectionId: string;
  live: LiveConnection;
  connection: Connection | null;
}): JSX.Element {
  const timeRange = range.value in RANGES ? range.value : '1h';
  const reading = useReading((signal) => readQueues(connectionId, timeRange, signal), [connectionId, timeRange], PACE);
  const workers = useReading((signal) => readWorkers(connectionId, signal), [connectionId], PACE);
  useChanges(live, () => {
    reading.again();
    workers.again();
  });
  live.version.value;

  const sort = readOrder(sortText.value, Object.keys(ORDERS), FIRST);
  const rows = sorted(
    reading.value?.rows.map((row) => withLive(row, live, reading.asOfMs)) ?? [],
    ORDERS[sort.column] ?? ORDERS.name,
    sort,
    (row) => row.name,
  );
  const open = rows.find((row) => row.name === openQueue.value) ?? null;
  const columns = useMemo(() => columnsOf(timeRange), [timeRange]);
  const online = (workers.value?.rows ?? []).filter(
    (worker) => withHeard(worker, live, workers.asOfMs).state !== 'offline',
  ).length;
  // A row may not say that nothing failed beside a figure that says otherwise.
  const isBehind = (live.ended()?.failed ?? 0) > 0 && reading.value !== undefined && rows.every((row) => !row.failureRate);
  useEffect(() => {
    if (isBehind) reading.now();
  }, [isBehind]);
  return (
    <div class="split">
      <div class="pane">
        <div class="figures-bar">
          <Figures label="This connection now">
            <Figure name="jobs wait" id="waiting-jobs">
              {count(rows.reduce((sum, row) => sum + (row.depth ?? 0), 0))}
            </Figure>
            <Figure name="jobs run" id="active-jobs">
              {count([...live.workers.values()].reduce((sum, worker) => sum + worker.activeJobs, 0))}
            </Figure>
            <Ended live={live} />
            <Figure
              name="workers online"
              tone={reading.value !== undefined && workers.value !== undefined && online === 0 ? 'warn' : 'plain'}>
              {count(online)}
            </Figure>
          </Figures>
          <label class="range">
            Rates over
            <select value={timeRange} onChange={(change) => setParameters({ range: change.currentTarget.value })}>
              {Object.entries(RANGES).map(([value, words]) => (
                <option key={value} value={value}>
                  {words}
                </option>
              ))}
            </select>
          </label>
        </div>
        {reading.fault !== null && (
          <p class="stale" role="alert">
            {inWords(reading.fault)}
          </p>
        )}
        {reading.value !== undefined && rows.length === 0 ? (
          <NoQueues connection={connection} />
        ) : (
          <Table
            label="Queues"
            columns={columns}
            rows={rows}
            version={live.version.value + reading.asOfMs}
            keyOf={(row) => row.name}
            sort={sort}
            onSort={(chosen) => setParameters({ sort: writeOrder(chosen, FIRST) })}
            openKey={open?.name ?? null}
            onOpen={(row) => setParameters({ queue: row.name }, 'push')}
          />
        )}
        {reading.value !== undefined && reading.value.total > rows.length && (
          <p class="more">
            {count(rows.length)} of {count(reading.value.total)} queues are shown.
          </p>
        )}
      </div>
      {open !== null && <QueueDrawer queue={open} rangeWords={RANGES[timeRange] ?? ''} />}
    </div>
  );
}

/** What the stream told within the last minute, or since it was opened: before that this page heard nothing. */
function Ended({ live }: { live: LiveConnection }): JSX.Element {
  live.version.value;
  live.state.value;
  nowMs.value; // the time goes on without a word from the stream
  const ended = live.ended();
  const isWhole = ended === null || ended.withinMs >= RATE_WINDOW_MS;
  const within = isWhole ? 'in the last minute' : `in the last ${Math.max(1, Math.floor(ended.withinMs / 1_000))} s`;
  return (
    <>
      <Figure name={`ended ${within}`} id="ended-jobs">
        {ended === null ? '—' : count(ended.all)}
      </Figure>
      <Figure name={`failed ${within}`} id="failed-jobs" tone={ended !== null && ended.failed > 0 ? 'bad' : 'plain'}>
        {ended === null ? '—' : count(ended.failed)}
      </Figure>
    </>
  );
}

/** Depth and consumers as the stream said last. */
function withLive(row: Queue, live: LiveConnection, asOfMs: number): Queue {
  const heard = live.queues.get(row.name);
  return heard === undefined || heard.heardMs < asOfMs || (heard.depth === row.depth && heard.consumers === row.consumers)
    ? row
    : { ...row, depth: heard.depth, consumers: heard.consumers };
}

const FIRST: Sort = { column: 'name', isDescending: false };
const ORDERS: Record<string, (a: Queue, b: Queue) => number> = {
  name: (a, b) => byText(a.name, b.name),
  depth: (a, b) => (a.depth ?? -1) - (b.depth ?? -1),
  consumers: (a, b) => (a.consumers ?? -1) - (b.consumers ?? -1),
  throughput: (a, b) => a.throughput - b.throughput,
  wait: (a, b) => (a.avgLatencyMs ?? -1) - (b.avgLatencyMs ?? -1),
  failures: (a, b) => (a.failureRate ?? -1) - (b.failureRate ?? -1),
};

function columnsOf(timeRange: string): Column<Queue>[] {
  return [
    {
      id: 'name',
      title: 'Queue',
      width: 'minmax(9rem, 2fr)',
      isSortable: true,
      onPhone: 'title',
      cell: (row) => <Name text={row.name} />,
    },
    {
      id: 'depth',
      title: 'Waiting',
      width: '6rem',
      isSortable: true,
      isNumber: true,
      onPhone: 'end',
      cell: (row) => <Known of={row.depth} after=" waiting" />,
    },
    {
      id: 'consumers',
      title: 'Consumers',
      width: '6.5rem',
      isSortable: true,
      isNumber: true,
      onPhone: 'none',
      cell: (row) => <Known of={row.consumers} />,
    },
    {
      id: 'throughput',
      title: 'Throughput',
      width: '7rem',
      isSortable: true,
      isNumber: true,
      onPhone: 'second',
      cell: (row) => rate(row.throughput),
    },
    {
      id: 'wait',
      title: 'Waited',
      width: '6rem',
      isSortable: true,
      isNumber: true,
      onPhone: 'none',
      cell: (row) => (row.avgLatencyMs == null ? <span class="quiet">—</span> : duration(row.avgLatencyMs)),
    },
    {
      id: 'failures',
      title: 'Failed',
      width: '6rem',
      isSortable: true,
      isNumber: true,
      onPhone: 'second',
      cell: (row) => <Failures of={row.failureRate} />,
    },
    {
      id: 'bar',
      title:
        timeRange === '1h'
          ? 'Each 5 minutes'
          : timeRange === '6h'
            ? 'Each half hour'
            : timeRange === '24h'
              ? 'Each hour'
              : 'Each 6 hours',
      width: 'minmax(10rem, 1.5fr)',
      onPhone: 'none',
      cell: (row) => <HealthBar buckets={row.healthBar.buckets} />,
    },
  ];
}

function Known({ of: value, after = '' }: { of: number | null | undefined; after?: string }): JSX.Element {
  if (value == null)
    return (
      <span class="quiet" title="Nobody has said.">
        —
      </span>
    );
  return (
    <span>
      {count(value)}
      <span class="on-cards">{after}</span>
    </span>
  );
}

function Failures({ of: failureRate }: { of: number | null | undefined }): JSX.Element {
  if (failureRate == null) return <span class="quiet">—</span>;
  return (
    <span class={failureRate > 0 ? 'fault' : 'quiet'}>
      {percent(failureRate)}
      <span class="on-cards"> failed</span>
    </span>
  );
}

function QueueDrawer({ queue, rangeWords }: { queue: Queue; rangeWords: string }): JSX.Element {
  return (
    <Drawer kind="Queue" title={queue.name} onClose={() => setParameters({ queue: null })}>
      <Facts>
        <Fact name="Waiting now">
          <Known of={queue.depth} />
        </Fact>
        <Fact name="Consumers">
          <Known of={queue.consumers} /> <span class="hint">{consumersInWords(queue.consumersSource)}</span>
        </Fact>
        <Fact name="Throughput">
          {rate(queue.throughput)} over {rangeWords}
        </Fact>
        <Fact name="Waited">
          {queue.avgLatencyMs == null ? 'no job ended' : `${duration(queue.avgLatencyMs)} before the start, on average`}
        </Fact>
        <Fact name="Failed">{queue.failureRate == null ? 'no job ended' : percent(queue.failureRate)}</Fact>
        <Fact name="First seen">
          <Moment iso={queue.createdAt} />
        </Fact>
      </Facts>
      <section>
        <h3>Ended over {rangeWords}</h3>
        <HealthBar buckets={queue.healthBar.buckets} isLarge />
      </section>
      <div class="actions">
        <a href={hrefOf('queues', { connection: queue.connectionId, show: 'jobs', queue: queue.name })}>Its jobs</a>
        <a href={hrefOf('queues', { connection: queue.connectionId, show: 'jobs', queue: queue.name, state: 'failed' })}>
          Those that failed
        </a>
      </div>
    </Drawer>
  );
}

function NoQueues({ connection }: { connection: Connection | null }): JSX.Element {
  return (
    <Empty title="No queue has been seen yet.">
      {connection?.framework === 'celery' && connection.health && (
        <p>
          Celery tells what happens only when it is asked to: start workers with <code>-E</code>, and set{' '}
          <code>task_send_sent_event = True</code> where tasks are sent, or their queue is not known.
        </p>
      )}
      {connection?.framework === 'bullmq' && connection.health && <p>A queue appears with its first job.</p>}
    </Empty>
  );
}
