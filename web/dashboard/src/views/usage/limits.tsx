// Each limit of the tier, and how near it is.

import type { JSX } from 'preact';

import { limitInWords } from '../../api/errors';
import { session } from '../../api/session';
import type { Shape } from '../../api/types';
import { count } from '../../ui/format';
import { Badge, type Tone } from '../../ui/parts';

type Usage = Shape<'LimitUsage'>;

const NEAR = 0.8;

interface Meaning {
  /** What is counted. */
  what: string;
  /** What happens at the limit. */
  then: string;
}

const MEANINGS: Record<Usage['limitType'], Meaning> = {
  RequestRate: { what: 'Of the calls that may come at once: it fills again by itself', then: 'calls are refused for a moment' },
  ConcurrentReservations: {
    what: 'Things held now, each slot of a pool counted',
    then: 'nothing more is reserved until something ends',
  },
  WaitingTickets: { what: 'Those who wait now', then: 'nobody more may wait' },
  SseConnections: { what: 'Event streams opened with keys; this page is not counted', then: 'no further stream is opened' },
  ApiKeys: { what: 'Keys of this tenant, in use or not', then: 'no further key is made' },
  Resources: { what: 'Registered resources, each slot of a pool counted', then: 'no further resource is registered' },
  Companies: { what: 'Companies that events can be about', then: 'no further company is registered' },
  Connections: { what: 'Brokers that are watched, and connections that workers push to', then: 'no further connection is made' },
  EventsPerDay: { what: 'Queue events since midnight, UTC', then: 'events of queues are refused until midnight' },
  StoredBytes: { what: 'All that is stored for this tenant', then: 'nothing more is stored' },
};

export function Limits(): JSX.Element {
  const usage = [...(session.value?.usage ?? [])].sort((a, b) => share(b) - share(a));
  return (
    <div class="usage" tabIndex={0} role="region" aria-label="Limits">
      <p class="hint">
        Nearest first. It is read again every ten seconds. A limit of the tier is of the whole tenant, on all replicas together.
      </p>
      <ul class="limits">
        {usage.map((limit) => (
          <Limit key={limit.limitType} usage={limit} />
        ))}
      </ul>
    </div>
  );
}

function Limit({ usage }: { usage: Usage }): JSX.Element {
  const { limitType, limit, used } = usage;
  const name = upperFirst(limitInWords(limitType));
  const meaning = MEANINGS[limitType];
  const words =
    limit == null
      ? `${amount(limitType, used)} used, without a limit`
      : `${amount(limitType, used)} of ${amount(limitType, limit)}`;
  const state = stateOf(usage);
  return (
    <li class="card limit" data-limit={limitType} data-tone={state.tone}>
      <div class="heading-row">
        <h2>{name}</h2>
        {state.label !== null && <Badge tone={state.tone}>{state.label}</Badge>}
      </div>
      {limit != null && (
        <meter min={0} max={Math.max(1, limit)} high={NEAR * limit} optimum={0} value={Math.min(used, limit)} aria-label={name}>
          {words}
        </meter>
      )}
      <p class="number">
        <strong>{words}</strong>
      </p>
      <p class="hint">
        {meaning.what}.{limit != null && share(usage) >= NEAR && <> At the limit {meaning.then}.</>}
      </p>
    </li>
  );
}

function share({ limit, used }: Usage): number {
  return limit == null ? -1 : used / Math.max(1, limit);
}

function stateOf(usage: Usage): { tone: Tone; label: string | null } {
  if (usage.limit == null) return { tone: 'plain', label: 'no limit' };
  const part = share(usage);
  if (part >= 1) return { tone: 'bad', label: 'reached' };
  if (part >= NEAR) return { tone: 'warn', label: `${Math.floor(part * 100)} %` };
  return { tone: 'plain', label: null };
}

const UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'];

function amount(limitType: Usage['limitType'], n: number): string {
  if (limitType !== 'StoredBytes') return count(n);
  let [value, unit] = [n, 0];
  for (; value >= 1024 && unit < UNITS.length - 1; unit++) value /= 1024;
  return `${unit === 0 || value >= 100 ? count(Math.round(value)) : value.toFixed(1)} ${UNITS[unit]}`;
}

function upperFirst(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
