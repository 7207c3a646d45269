// The workers of a connection.

import type { JSX } from 'preact';

import { inWords } from '../../api/errors';
import type { Worker } from '../../api/types';
import { hrefOf, parameter, setParameters } from '../../app/router';
import { byText } from '../../live/sorted';
import { Drawer } from '../../ui/drawer';
import { count } from '../../ui/format';
import { Age, Badge, Empty, Fact, Facts, Moment, Name } from '../../ui/parts';
import { useReading } from '../../ui/reading';
import { Table, type Column, type Sort } from '../../ui/table';
import type { LiveConnection } from './live';
import { rate } from './numbers';
import { readWorkers } from './reads';
import { readOrder, sorted, writeOrder } from './sorting';
import { useChanges } from './use-changes';
import { WORKER_TONES } from './words';

const openWorker = parameter('open');
const sortText = parameter('sort');
const FIRST: Sort = { column: 'hostname', isDescending: false };

export function Workers({ connectionId, live }: { connectionId: string; live: LiveConnection }): JSX.Element {
  const reading = useReading((signal) => readWorkers(connectionId, signal), [connectionId], { soonMs: 3_000, everyMs: 15_000 });
  useChanges(live, reading.again);
  live.version.value;
  const sort = readOrder(sortText.value, Object.keys(ORDERS), FIRST);
  const rows = sorted(
    reading.value?.rows.map((row) => withHeard(row, live, reading.asOfMs)) ?? [],
    ORDERS[sort.column],
    sort,
    (row) => row.hostname,
  );
  const open = rows.find((row) => row.id === openWorker.value) ?? null;
  return (
    <div class="split">
      <div class="pane">
        {reading.fault !== null && (
          <p class="stale" role="alert">
            {inWords(reading.fault)}
          </p>
        )}
        {reading.value !== undefined && rows.length === 0 ? (
          <Empty title="No worker was heard within the last day.">
            <p>A worker appears with its first heartbeat.</p>
          </Empty>
        ) : (
          <Table
            label="Workers"
            columns={COLUMNS}
            rows={rows}
            version={live.version.value + reading.asOfMs}
            keyOf={(row) => row.id}
            sort={sort}
            onSort={(chosen) => setParameters({ sort: writeOrder(chosen, FIRST) })}
            openKey={open?.id ?? null}
            onOpen={(row) => setParameters({ open: row.id }, 'push')}
          />
        )}
        {reading.value !== undefined && reading.value.total > rows.length && (
          <p class="more">
            {count(rows.length)} of {count(reading.value.total)} workers are shown.
          </p>
        )}
      </div>
      {open !== null && <WorkerDrawer worker={open} />}
    </div>
  );
}

/** State and running jobs as the stream said last. Online with or without jobs is said by its words. */
export function withHeard(row: Worker, live: LiveConnection, asOfMs: number): Worker {
  const heard = live.workers.get(row.id);
  if (heard === undefined || heard.heardMs < asOfMs) return row;
  const state = heard.state === 'online' && row.state !== 'offline' ? row.state : heard.state;
  return state === row.state && heard.activeJobs === row.activeJobs ? row : { ...row, state, activeJobs: heard.activeJobs };
}

const ORDERS: Record<string, (a: Worker, b: Worker) => number> = {
  hostname: (a, b) => byText(a.hostname, b.hostname),
  state: (a, b) => byText(a.state, b.state),
  active: (a, b) => a.activeJobs - b.activeJobs,
  rate: (a, b) => a.taskRate - b.taskRate,
  heartbeat: (a, b) => byText(a.lastHeartbeat, b.lastHeartbeat),
};

const COLUMNS: Column<Worker>[] = [
  {
    id: 'hostname',
    title: 'Worker',
    width: 'minmax(10rem, 2fr)',
    isSortable: true,
    onPhone: 'title',
    cell: (row) => <Name text={row.hostname} />,
  },
  {
    id: 'state',
    title: 'State',
    width: '6rem',
    isSortable: true,
    onPhone: 'end',
    cell: (row) => <Badge tone={WORKER_TONES[row.state]}>{row.state}</Badge>,
  },
  {
    id: 'active',
    title: 'Running',
    width: '6.5rem',
    isSortable: true,
    isNumber: true,
    onPhone: 'second',
    cell: (row) => (
      <span>
        {running(row)}
        <span class="on-cards"> running</span>
      </span>
    ),
  },
  {
    id: 'rate',
    title: 'Done',
    width: '6.5rem',
    isSortable: true,
    isNumber: true,
    onPhone: 'second',
    cell: (row) => rate(row.taskRate / 60),
  },
  {
    id: 'heartbeat',
    title: 'Heard',
    width: '7rem',
    isSortable: true,
    isNumber: true,
    onPhone: 'none',
    cell: (row) => <Age iso={row.lastHeartbeat} />,
  },
  {
    id: 'queues',
    title: 'Queues',
    width: 'minmax(8rem, 1.5fr)',
    onPhone: 'second',
    cell: (row) => <Name text={row.queues.join(', ')} />,
  },
];

function running(row: Worker): string {
  return row.concurrency == null ? count(row.activeJobs) : `${count(row.activeJobs)} of ${count(row.concurrency)}`;
}

function WorkerDrawer({ worker }: { worker: Worker }): JSX.Element {
  return (
    <Drawer kind="Worker" title={worker.hostname} onClose={() => setParameters({ open: null })}>
      <Facts>
        <Fact name="State">
          <Badge tone={WORKER_TONES[worker.state]}>{worker.state}</Badge>
        </Fact>
        <Fact name="Running">{running(worker)}</Fact>
        <Fact name="Done">{rate(worker.taskRate / 60)} over the last hour</Fact>
        <Fact name="Done in all">{worker.processedTotal == null ? 'it does not say' : count(worker.processedTotal)}</Fact>
        <Fact name="Heard">
          <Age iso={worker.lastHeartbeat} /> ago
        </Fact>
        <Fact name="Queues">{worker.queues.length === 0 ? 'none known' : worker.queues.join(', ')}</Fact>
        <Fact name="Process">{worker.pid ?? 'it does not say'}</Fact>
        <Fact name="First seen">
          <Moment iso={worker.createdAt} />
        </Fact>
      </Facts>
      <div class="actions">
        <a href={hrefOf('queues', { connection: worker.connectionId, show: 'jobs', worker: worker.externalId })}>Its jobs</a>
        <a href={hrefOf('queues', { connection: worker.connectionId, show: 'jobs', worker: worker.externalId, state: 'active' })}>
          Those that run
        </a>
      </div>
    </Drawer>
  );
}
