// The jobs of a connection: by state, searched, and each with its story.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';

import { inWords } from '../../api/errors';
import type { Job, JobState } from '../../api/types';
import { parameter, place, setParameters } from '../../app/router';
import { count, duration } from '../../ui/format';
import { Badge, Empty, Moment, Name } from '../../ui/parts';
import { useReading } from '../../ui/reading';
import { Table, type Column, type Sort } from '../../ui/table';
import { JobDrawer } from './job-detail';
import type { LiveConnection } from './live';
import { countJobs, JOBS_STEP, MOST_JOBS_SHOWN, readJobs, type JobQuery } from './reads';
import { readOrder, writeOrder } from './sorting';
import { useChanges } from './use-changes';
import { JOB_STATES, JOB_TONES } from './words';

const search = parameter('q');
const state = parameter('state');
const queue = parameter('queue');
const worker = parameter('worker');
const sortText = parameter('sort');
const openJob = parameter('open');

const FIRST: Sort = { column: 'createdAt', isDescending: true };
const SORTS = ['createdAt', 'name', 'state', 'durationMs', 'queue', 'startedAt', 'worker'];
const SOON_MS = 2_000; // for each hundred that are shown
const EVERY_MS = 20_000;

export function Jobs({ connectionId, live }: { connectionId: string; live: LiveConnection }): JSX.Element {
  const sort = readOrder(sortText.value, SORTS, FIRST);
  const query: JobQuery = {
    connectionId,
    search: search.value.trim(),
    state: state.value,
    queue: queue.value,
    worker: worker.value,
    sortBy: sort.column,
    sortOrder: sort.isDescending ? 'desc' : 'asc',
  };
  const of = JSON.stringify(query);
  const [wanted, setWanted] = useState({ of, jobs: JOBS_STEP });
  const jobs = wanted.of === of ? wanted.jobs : JOBS_STEP;
  const pace = { soonMs: SOON_MS * (jobs / JOBS_STEP), everyMs: EVERY_MS };
  const reading = useReading((signal) => readJobs(query, jobs, signal), [query, jobs], pace);
  const { state: _, sortBy: __, sortOrder: ___, ...uncounted } = query;
  const counts = useReading((signal) => countJobs(query, JOB_STATES, signal), [uncounted], { soonMs: 4_000, everyMs: EVERY_MS });
  useChanges(live, () => {
    reading.again();
    counts.again();
  });
  live.version.value;

  // While more are read, those that are there stay.
  const [last, setLast] = useState<{ of: string; rows: Job[]; total: number } | null>(null);
  if (reading.value !== undefined && (last?.of !== of || last.rows !== reading.value.rows)) setLast({ of, ...reading.value });
  const read = reading.value ?? (last?.of === of ? last : undefined);
  const rows = read?.rows.map((row) => withLive(row, live)) ?? [];
  const isFiltered = query.search !== '' || query.state !== '' || query.queue !== '' || query.worker !== '';
  return (
    <div class="split">
      <div class="pane">
        <div class="toolbar">
          <input
            class="search"
            type="search"
            aria-label="Search jobs by name"
            placeholder="Search names…"
            value={search.value}
            onInput={(input) => setParameters({ q: input.currentTarget.value })}
          />
          {queue.value !== '' && (
            <button type="button" onClick={() => setParameters({ queue: null })}>
              Queue: {queue.value} ×
            </button>
          )}
          {worker.value !== '' && (
            <button type="button" onClick={() => setParameters({ worker: null })}>
              Worker: {worker.value} ×
            </button>
          )}
        </div>
        <States counts={counts.value} />
        {reading.fault !== null && (
          <p class="stale" role="alert">
            {inWords(reading.fault)}
          </p>
        )}
        {read !== undefined && rows.length === 0 ? (
          <Empty title={isFiltered ? 'No job matches.' : 'No job has been seen yet.'}>
            {!isFiltered && <p>Jobs are kept for a day.</p>}
          </Empty>
        ) : (
          <Table
            label="Jobs"
            columns={COLUMNS}
            rows={rows}
            version={live.version.value + reading.asOfMs}
            keyOf={(row) => row.id}
            sort={sort}
            onSort={(chosen) => setParameters({ sort: writeOrder(chosen, FIRST) })}
            openKey={openJob.value}
            onOpen={(row) => setParameters({ open: row.id }, 'push')}
          />
        )}
        {read !== undefined && read.total > 0 && (
          <More shown={rows.length} total={read.total} onMore={() => setWanted({ of, jobs: jobs + JOBS_STEP })} />
        )}
      </div>
      {openJob.value !== '' && <JobDrawer key={openJob.value} id={openJob.value} live={live} />}
    </div>
  );
}

/** What the stream said after the list was read. A job that left the chosen state goes with the next reading. */
function withLive(row: Job, live: LiveConnection): Job {
  const heard = live.jobs.get(row.id);
  if (heard === undefined || heard.state === row.state || heard.timestamp <= row.stateChangedAt) return row;
  return { ...row, state: heard.state, stateChangedAt: heard.timestamp };
}

/** One choice for each state, with how many there are. */
function States({ counts }: { counts: Map<string, number> | undefined }): JSX.Element {
  place.value;
  const choice = (value: JobState | '', words: string): JSX.Element => (
    <button
      key={value}
      type="button"
      class="small"
      aria-pressed={state.value === value}
      data-state={value}
      onClick={() => setParameters({ state: value })}>
      {words} <span class="number quiet">{counts === undefined ? '' : count(counts.get(value) ?? 0)}</span>
    </button>
  );
  return (
    <div class="states" role="group" aria-label="Jobs in the state">
      {choice('', 'all')}
      {JOB_STATES.map((known) => choice(known, known))}
    </div>
  );
}

function More({ shown, total, onMore }: { shown: number; total: number; onMore: () => void }): JSX.Element {
  const isAll = shown >= total;
  return (
    <p class="more">
      <span>{isAll ? `All ${count(total)} are shown.` : `${count(shown)} of ${count(total)} are shown.`}</span>
      {!isAll &&
        (shown < MOST_JOBS_SHOWN ? (
          <button type="button" class="small" onClick={onMore}>
            Show more
          </button>
        ) : (
          <span>Search, or choose a state, to find the others.</span>
        ))}
    </p>
  );
}

const COLUMNS: Column<Job>[] = [
  {
    id: 'name',
    title: 'Job',
    width: 'minmax(10rem, 2fr)',
    isSortable: true,
    onPhone: 'title',
    cell: (row) => <Name text={row.name} />,
  },
  {
    id: 'state',
    title: 'State',
    width: '6.5rem',
    isSortable: true,
    onPhone: 'end',
    cell: (row) => <Badge tone={JOB_TONES[row.state]}>{row.state}</Badge>,
  },
  {
    id: 'queue',
    title: 'Queue',
    width: 'minmax(6rem, 1fr)',
    isSortable: true,
    onPhone: 'second',
    cell: (row) => <Name text={row.queue} />,
  },
  {
    id: 'worker',
    title: 'Worker',
    width: 'minmax(7rem, 1.2fr)',
    isSortable: true,
    onPhone: 'none',
    cell: (row) => <Name text={row.workerId} />,
  },
  {
    id: 'createdAt',
    title: 'Created',
    width: '7rem',
    isSortable: true,
    onPhone: 'second',
    cell: (row) => <Moment iso={row.createdAt} />,
  },
  {
    id: 'durationMs',
    title: 'Took',
    width: '5.5rem',
    isSortable: true,
    isNumber: true,
    onPhone: 'second',
    cell: (row) => (row.durationMs == null ? null : duration(row.durationMs)),
  },
  {
    id: 'error',
    title: 'Error',
    width: 'minmax(8rem, 2fr)',
    onPhone: 'none',
    cell: (row) => (row.error ? <Name text={row.error} /> : null),
  },
];
