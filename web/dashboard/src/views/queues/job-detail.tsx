// All that is known of one job.

import type { JSX } from 'preact';

import { call, pathPart, Refusal } from '../../api/client';
import { inWords } from '../../api/errors';
import type { JobDetails } from '../../api/types';
import { hrefOf, place, setParameters } from '../../app/router';
import { Drawer } from '../../ui/drawer';
import { duration, inFull, moment } from '../../ui/format';
import { serverNowMs } from '../../api/clock';
import { Badge, CopyButton, Countdown, Fact, Facts, Moment } from '../../ui/parts';
import { useReading } from '../../ui/reading';
import type { LiveConnection } from './live';
import { useChanges } from './use-changes';
import { JOB_TONES } from './words';

const PACE = { soonMs: 1_000, everyMs: 15_000 };

export function JobDrawer({ id, live }: { id: string; live: LiveConnection }): JSX.Element {
  const reading = useReading<JobDetails>((signal) => call('GET', `/api/jobs/${pathPart(id)}`, { signal }), [id], PACE);
  const heard = live.jobs.get(id);
  useChanges(live, () => {
    const latest = live.jobs.get(id);
    if (latest !== undefined && latest.timestamp !== reading.value?.stateChangedAt) reading.again();
  });
  const job = reading.value;
  const isGone = reading.fault instanceof Refusal && reading.fault.status === 404;
  return (
    <Drawer kind="Job" title={job?.name ?? heard?.name ?? 'Job'} onClose={() => setParameters({ open: null })}>
      {isGone && (
        <p class="stale" role="alert">
          This job is not kept any more.
        </p>
      )}
      {reading.fault !== null && !isGone && (
        <p class="stale" role="alert">
          {inWords(reading.fault)}
        </p>
      )}
      {job === undefined ? reading.fault === null && <p role="status">Reading the job…</p> : <Story job={job} />}
    </Drawer>
  );
}

function Story({ job }: { job: JobDetails }): JSX.Element {
  return (
    <>
      <Facts>
        <Fact name="State">
          <Badge tone={JOB_TONES[job.state]}>{job.state}</Badge> since <Moment iso={job.stateChangedAt} />
        </Fact>
        {job.progress != null && job.state === 'active' && (
          <Fact name="Progress">
            <meter min={0} max={1} value={job.progress} aria-label="Progress" /> {Math.round(job.progress * 100)} %
          </Fact>
        )}
        {job.scheduledFor != null && job.state === 'scheduled' && (
          <Fact name="Starts in">
            <Countdown iso={job.scheduledFor} />
          </Fact>
        )}
        <Fact name="Queue">{job.queue ?? <span class="quiet">not known</span>}</Fact>
        <Fact name="Worker">{job.workerId ?? <span class="quiet">none yet</span>}</Fact>
        <Fact name="Attempt">{attempt(job)}</Fact>
        <Fact name="Waited">{waited(job)}</Fact>
        <Fact name="Took">{job.durationMs == null ? <span class="quiet">not ended</span> : duration(job.durationMs)}</Fact>
        <Fact name="Id">
          <code>{job.externalId}</code>
        </Fact>
      </Facts>
      {job.error && <LongText title="Error" text={job.error} />}
      {job.stacktrace && <LongText title="Stack trace" text={job.stacktrace} isCode />}
      <History job={job} />
      {job.args && <LongText title="Arguments" text={job.args} />}
      {job.kwargs && job.kwargs !== '{}' && <LongText title="Named arguments" text={job.kwargs} />}
      {job.result && <LongText title="Result" text={job.result} />}
      <Family job={job} />
      {job.recentExecutions.length > 0 && (
        <section>
          <h3>Other jobs of this name</h3>
          <ul class="others">
            {job.recentExecutions.map((other) => (
              <li key={other.id}>
                <Badge tone={JOB_TONES[other.state]}>{other.state}</Badge>
                <a href={hrefOf('queues', { ...Object.fromEntries(place.value.parameters), open: other.id })}>
                  <Moment iso={other.createdAt} />
                </a>
                <span class="quiet number">{other.durationMs == null ? '' : duration(other.durationMs)}</span>
              </li>
            ))}
          </ul>
        </section>
      )}
    </>
  );
}

function attempt(job: JobDetails): string {
  if (job.attempt == null) return 'not known';
  return job.maxRetries == null ? String(job.attempt) : `${job.attempt} of ${job.maxRetries + 1}`;
}

function waited(job: JobDetails): JSX.Element | string {
  if (job.startedAt == null) return <span class="quiet">not started</span>;
  const from = Date.parse(job.scheduledFor ?? job.createdAt);
  return duration(Math.max(0, Date.parse(job.startedAt) - from));
}

/** Each state that it went through, and for how long. */
function History({ job }: { job: JobDetails }): JSX.Element {
  const steps = job.stateHistory;
  return (
    <section>
      <h3>History</h3>
      <ol class="history">
        {steps.map((step, at) => {
          const next = steps[at + 1];
          return (
            <li key={at}>
              <Badge tone={JOB_TONES[step.state]}>{step.state}</Badge>
              <time dateTime={step.timestamp} title={inFull(step.timestamp)}>
                {moment(step.timestamp, serverNowMs())}
              </time>
              <span class="quiet number">
                {next === undefined
                  ? ''
                  : `for ${duration(Math.max(0, Date.parse(next.timestamp) - Date.parse(step.timestamp)))}`}
              </span>
            </li>
          );
        })}
      </ol>
    </section>
  );
}

function Family({ job }: { job: JobDetails }): JSX.Element | null {
  const parent = job.parentId != null && job.parentId !== job.externalId ? job.parentId : null;
  const root = job.rootId != null && job.rootId !== job.externalId && job.rootId !== parent ? job.rootId : null;
  if (parent === null && root === null) return null;
  return (
    <Facts>
      {parent !== null && (
        <Fact name="Created by">
          <code>{parent}</code>
        </Fact>
      )}
      {root !== null && (
        <Fact name="First of the chain">
          <code>{root}</code>
        </Fact>
      )}
    </Facts>
  );
}

function LongText({ title, text, isCode = false }: { title: string; text: string; isCode?: boolean }): JSX.Element {
  return (
    <section>
      <div class="heading-row">
        <h3>{title}</h3>
        <CopyButton text={text} what={title.toLowerCase()} />
      </div>
      <pre class={`long-text ${isCode ? 'is-code' : ''}`} tabIndex={0} aria-label={title}>
        {text}
      </pre>
    </section>
  );
}
