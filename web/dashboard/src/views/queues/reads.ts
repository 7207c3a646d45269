// Calls of the queue monitor.

import { call } from '../../api/client';
import type { Connection, Job, JobState, Queue, Shape, Worker } from '../../api/types';

const PAGE = 100; // the most that a page may have
const MOST_PAGES = 10;

export const CONNECTIONS = '/api/v1/connections';

export async function readConnections(signal: AbortSignal): Promise<Connection[]> {
  const list: Shape<'ConnectionList'> = await call('GET', CONNECTIONS, { signal });
  return list.connections;
}

export interface Paged<Row> {
  rows: Row[];
  /** How many there are, of which `rows` may be a part. */
  total: number;
}

export interface JobQuery {
  connectionId: string;
  search: string;
  state: string;
  queue: string;
  worker: string;
  sortBy: string;
  sortOrder: 'asc' | 'desc';
}

/** The first `wanted` jobs, at most a thousand. */
export async function readJobs(query: JobQuery, wanted: number, signal: AbortSignal): Promise<Paged<Job>> {
  const rows: Job[] = [];
  let [cursor, total]: [string | null, number] = [null, 0];
  for (let page = 0; page < MOST_PAGES; page++) {
    const list: Shape<'JobList'> = await call('GET', '/api/jobs', { query: { ...query, limit: PAGE, cursor }, signal });
    rows.push(...list.data);
    total = list.pagination.total;
    cursor = list.pagination.nextCursor ?? null;
    if (cursor === null || rows.length >= wanted) break;
  }
  return { rows, total };
}

export const MOST_JOBS_SHOWN = PAGE * MOST_PAGES;
export const JOBS_STEP = PAGE;

/** How many jobs are in each state, of those that the rest of the query leaves. */
export async function countJobs(query: JobQuery, states: readonly JobState[], signal: AbortSignal): Promise<Map<string, number>> {
  const counts = await Promise.all(
    ['', ...states].map(async (state) => {
      const list: Shape<'JobList'> = await call('GET', '/api/jobs', { query: { ...query, state, limit: 1 }, signal });
      return [state, list.pagination.total] as const;
    }),
  );
  return new Map(counts);
}

export function readWorkers(connectionId: string, signal: AbortSignal): Promise<Paged<Worker>> {
  return readPages<Worker>('/api/workers', { connectionId }, signal);
}

export function readQueues(connectionId: string, timeRange: string, signal: AbortSignal): Promise<Paged<Queue>> {
  return readPages<Queue>('/api/queues', { connectionId, timeRange }, signal);
}

async function readPages<Row>(path: string, query: Record<string, string>, signal: AbortSignal): Promise<Paged<Row>> {
  const rows: Row[] = [];
  for (let page = 1; ; page++) {
    const list: { data: Row[]; pagination: Shape<'PagePagination'> } = await call('GET', path, {
      query: { ...query, limit: PAGE, page },
      signal,
    });
    rows.push(...list.data);
    if (page >= list.pagination.totalPages || page >= MOST_PAGES) return { rows, total: list.pagination.total };
  }
}
