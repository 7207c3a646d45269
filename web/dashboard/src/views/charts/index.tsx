// The last hour in pictures, and what is held longest.

import type { ComponentChildren, JSX } from 'preact';

import { serverNowMs } from '../../api/clock';
import { hrefOf } from '../../app/router';
import type { Row } from '../../live/board';
import { board } from '../../live/store';
import { allTickets } from '../../live/tickets';
import { hasList } from '../../live/truth';
import { count, duration, moment, plural, short } from '../../ui/format';
import { Age, Countdown, Name } from '../../ui/parts';
import { Chart } from './chart';
import { GROUP, type Percentiles, type Series } from './hour';
import { openedAtMs, useLiveHour, type LiveHour } from './live-hour';
import './charts.css';

const MOST_LISTED = 10;

export default function Charts(): JSX.Element {
  const live = useLiveHour();
  const series = live.series.value;
  const { minutes: xs, whole } = series;
  const now = { held: board.size, waiting: allTickets().size };
  const isRead = hasList.value && live.state.value !== 'reading';
  return (
    <>
      <div class="toolbar">
        <h1>Charts</h1>
        <p class="tally" id="charts-state" role="status" data-state={live.state.value}>
          {stateInWords(live)}
        </p>
      </div>
      <div class="charts" tabIndex={0} role="region" aria-label="The last hour" aria-busy={!isRead}>
        <dl class="figures" aria-label="In numbers">
          <Figure name="held now" id="held-now">
            {count(now.held)}
          </Figure>
          <Figure name="wait now" id="waiting-now">
            {count(now.waiting)}
          </Figure>
          <Figure name="grants" id="grants">
            {count(whole.grants)}
          </Figure>
          <Figure name="expiries" id="expiries">
            {count(whole.expiries)}
          </Figure>
          <Figure name="refusals since this page was opened" id="refusals">
            {count(whole.refusals)}
          </Figure>
          <Figure name="held for, p50 and p99" id="hold-times">
            {percentilesInWords(whole.hold)}
          </Figure>
          <Figure name="waited for, p50 and p99" id="wait-times">
            {percentilesInWords(whole.wait)}
          </Figure>
        </dl>
        <div class="chart-grid">
          <Chart
            title="Held"
            summary={levelInWords('held', now.held, series.held)}
            xs={xs}
            format={short}
            lines={[{ label: 'held', colour: 1, values: series.held }]}
          />
          <Chart
            title="Waiting"
            summary={levelInWords('waiting', now.waiting, series.waiting)}
            xs={xs}
            format={short}
            lines={[{ label: 'waiting', colour: 3, values: series.waiting }]}
          />
          <Chart
            title="Grants, expiries and refusals a minute"
            isWide
            summary={ratesInWords(series)}
            xs={xs}
            format={short}
            lines={[
              { label: 'grants', colour: 1, values: series.grants },
              { label: 'expiries', colour: 2, values: series.expiries, dash: [7, 4] },
              { label: 'refusals', colour: 4, values: sinceOpened(series), dash: [2, 3] },
            ]}
          />
          <Chart
            title="How long things were held"
            summary={timesInWords('hold', whole.hold)}
            xs={xs}
            format={duration}
            isLogarithmic
            isSparse
            lines={[
              { label: 'p99', colour: 2, values: series.holdP99, dash: [7, 4] },
              { label: 'p50', colour: 1, values: series.holdP50 },
            ]}
          />
          <Chart
            title="How long somebody waited"
            summary={timesInWords('wait', whole.wait)}
            xs={xs}
            format={duration}
            isLogarithmic
            isSparse
            lines={[
              { label: 'p99', colour: 2, values: series.waitP99, dash: [7, 4] },
              { label: 'p50', colour: 1, values: series.waitP50 },
            ]}
          />
        </div>
        <div class="chart-grid">
          <Longest />
          <WithoutEnd />
        </div>
      </div>
    </>
  );
}

function stateInWords({ state, fromMs, fault }: LiveHour): string {
  switch (state.value) {
    case 'reading':
      return 'Reading what happened within the last hour…';
    case 'whole':
      return 'The last hour, as far as the tier keeps it';
    case 'partial':
      return `Since ${moment(new Date(fromMs.value).toISOString(), serverNowMs())}: more happened than this page reads.`;
    case 'failed':
      return `What happened before could not be read: ${fault.value ?? ''}`;
  }
}

function Figure({ name, id, children }: { name: string; id: string; children: ComponentChildren }): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd id={id}>{children}</dd>
    </div>
  );
}

function percentilesInWords(some: Percentiles | null): string {
  return some === null ? '—' : `${duration(some.p50)} · ${duration(some.p99)}`;
}

function levelInWords(what: string, now: number, line: (number | null)[]): string {
  const known = line.filter((value) => value !== null);
  const most = Math.max(now, ...known);
  return known.length === 0
    ? `${count(now)} ${what} now.`
    : `${count(now)} ${what} now; at most ${count(most)}, at the ends of these minutes.`;
}

function ratesInWords({ whole }: Series): string {
  const kept = `${plural(whole.grants, 'grant')} and ${plural(whole.expiries, 'expiry', 'expiries')}.`;
  return `${kept} The service keeps no refusals: they are counted since this page was opened.`;
}

/** Before the page was opened nobody knows. */
function sinceOpened(series: Series): (number | null)[] {
  return series.refusals.map((value, at) => ((series.minutes[at] ?? 0) * 1000 + 60_000 > openedAtMs ? value : null));
}

function timesInWords(what: 'hold' | 'wait', some: Percentiles | null): string {
  if (some === null) return what === 'hold' ? 'Nothing ended.' : 'Nobody who waited was served.';
  const ended = what === 'hold' ? plural(some.count, 'hold') : plural(some.count, 'wait');
  const times = `half took at most ${duration(some.p50)}, and 99 % at most ${duration(some.p99)}`;
  return `Of ${ended} ${times}. Points are of ${GROUP} minutes each.`;
}

/** Those that are held since the longest time: one pass, without sorting all. */
function oldest(matches: (row: Row) => boolean): { rows: Row[]; total: number } {
  const rows: Row[] = [];
  let total = 0;
  for (const row of board.rows()) {
    if (!matches(row)) continue;
    total += 1;
    const last = rows[MOST_LISTED - 1];
    if (last !== undefined && row.reservedAt >= last.reservedAt) continue;
    const at = rows.findIndex((other) => row.reservedAt < other.reservedAt);
    rows.splice(at < 0 ? rows.length : at, 0, row);
    rows.length = Math.min(rows.length, MOST_LISTED);
  }
  return { rows, total };
}

function Longest(): JSX.Element {
  const { rows } = oldest(() => true);
  return (
    <section class="card holds" aria-labelledby="longest-title">
      <div class="heading-row">
        <h2 id="longest-title">Held longest</h2>
        <a href={hrefOf('reservations', { sort: 'since' })}>All, oldest first</a>
      </div>
      <Holds rows={rows} none="Nothing is held." hasEnds />
    </section>
  );
}

function WithoutEnd(): JSX.Element {
  const { rows, total } = oldest((row) => row.expiresAt == null);
  return (
    <section class="card holds" aria-labelledby="endless-title">
      <div class="heading-row">
        <h2 id="endless-title">
          Held without an end{' '}
          <span class="quiet number" id="endless-count">
            {count(total)}
          </span>
        </h2>
        <a href={hrefOf('reservations', { end: 'never', sort: 'since' })}>All of them</a>
      </div>
      <p class="hint">These stay held when their holders die. Only a release frees them.</p>
      <Holds rows={rows} none="Everything that is held ends by itself." />
    </section>
  );
}

function Holds({ rows, none, hasEnds = false }: { rows: Row[]; none: string; hasEnds?: boolean }): JSX.Element {
  if (rows.length === 0) return <p class="quiet">{none}</p>;
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">Resource</th>
          <th scope="col">Holder</th>
          <th scope="col">Held for</th>
          {hasEnds && <th scope="col">Ends in</th>}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.resource}>
            <th scope="row">
              <a href={hrefOf('reservations', { row: row.resource })}>
                <Name text={row.resource} />
              </a>
            </th>
            <td>
              <Name text={row.requester} />
            </td>
            <td>
              <Age iso={row.reservedAt} />
            </td>
            {hasEnds && (
              <td>
                <Countdown iso={row.expiresAt} />
              </td>
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}
