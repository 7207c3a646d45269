// What the monitor says, in words for people.

import type { Connection, JobState, Shape } from '../../api/types';
import type { Tone } from '../../ui/parts';

/** In the order in which a job goes through them. */
export const JOB_STATES: readonly JobState[] = [
  'queued',
  'scheduled',
  'active',
  'retrying',
  'completed',
  'failed',
  'cancelled',
  'unknown',
];

export const JOB_TONES: Record<JobState, Tone> = {
  queued: 'plain',
  scheduled: 'plain',
  active: 'calm',
  retrying: 'warn',
  completed: 'good',
  failed: 'bad',
  cancelled: 'warn',
  unknown: 'plain',
};

export const WORKER_TONES: Record<Shape<'WorkerState'>, Tone> = { online: 'good', busy: 'calm', idle: 'good', offline: 'bad' };

export const FRAMEWORKS: Record<Shape<'Framework'>, string> = { celery: 'Celery', bullmq: 'BullMQ', sidekiq: 'Sidekiq' };

const BROKER_ERRORS: Record<Shape<'BrokerError'>, string> = {
  address:
    'The address of the broker cannot be used: it is malformed, or was stored under a secret key that is gone. Make the connection anew.',
  not_allowed: 'The operator of this service does not allow that broker. HOLDFAST_BROKER_HOSTS names those that are.',
  own_redis: 'That is the Redis of this service itself, and no broker.',
  own_redis_unknown:
    'The Redis of this service does not say who it is, so it cannot be told from that broker. The operator has to mend it: its user needs +info.',
  dns: 'The name of the broker has no address.',
  refused: 'Nobody listens at that address, or the network does not reach it.',
  timeout: 'The broker does not answer in time.',
  auth: 'The broker refuses the user or password, or the user may not do what watching needs.',
  tls: 'No secure connection: the certificate is not trusted for that name, or the broker speaks no TLS.',
  protocol: 'What answers there is no Redis that can be watched.',
  too_large: 'The broker sent a reply or message of more than 8 MiB, which is more than is read.',
  broken: 'The connection to the broker broke. It is tried again.',
  other_exchanges:
    'No event comes, and the workers there have another control exchange. Make the connection anew with their event_exchange and control_exchange.',
};

export interface Health {
  tone: Tone;
  label: string;
  /** What it means, and what to do about it; null when all is well. */
  advice: string | null;
}

export function healthOf({ health }: Connection): Health {
  if (!health)
    return { tone: 'plain', label: 'Pushed to', advice: 'No broker is watched: workers send what happens, with the ingest key.' };
  if (health.error === 'other_exchanges') return { tone: 'bad', label: 'Shows nothing', advice: BROKER_ERRORS[health.error] };
  if (health.error === 'auth' && health.missingRight)
    return { tone: 'bad', label: 'Not reached', advice: `The broker's user lacks a right. Its ACL rule would be ${health.missingRight}` };
  if (health.error) return { tone: 'bad', label: 'Not reached', advice: BROKER_ERRORS[health.error] };
  if (health.connectedSince && health.missingRight)
    return {
      tone: 'good',
      label: 'Watched',
      advice: `Without the ACL rule ${health.missingRight} of the broker's user, numbers of consumers are inferred or unknown.`,
    };
  if (health.connectedSince) return { tone: 'good', label: 'Watched', advice: null };
  if (health.watched) return { tone: 'warn', label: 'Connecting', advice: 'A replica is about to connect to the broker.' };
  return { tone: 'warn', label: 'Waiting', advice: 'No replica watches it yet. One does within 10 s.' };
}

const CONSUMER_SOURCES: Record<Shape<'ConsumersSource'>, string> = {
  inferred: 'Workers that took a job from the queue. One that only waits is not seen.',
  exact: 'Workers that named the queue when they were asked.',
  connected: 'Workers whose connections the broker lists.',
  pushed: 'As a client said.',
};

export function consumersInWords(source: Shape<'ConsumersSource'> | null | undefined): string {
  return source ? CONSUMER_SOURCES[source] : 'Nobody has said.';
}

const GAPS: Record<string, string> = {
  handover: 'another replica took the watch over',
  slow: 'this page read too slowly',
  interrupted: 'the connection was interrupted',
};

export function gapInWords(reason: string): string {
  return GAPS[reason] ?? reason;
}
