// Making a connection. It is tried at once, and the dialog says how that went.

import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';

import { call, Refusal } from '../../api/client';
import { inWords } from '../../api/errors';
import type { Connection, Shape } from '../../api/types';
import { Modal } from '../../ui/dialog';
import { Badge, Command } from '../../ui/parts';
import { Secret } from '../../ui/secret';
import { CONNECTIONS } from './reads';
import { healthOf } from './words';

type Made = Shape<'ConnectionWithKey'>;

export function NewConnection({
  connections,
  onChanged,
  onClose,
}: {
  connections: Connection[];
  /** Reads the connections again: their health is seen through it. */
  onChanged: () => void;
  onClose: (made: string | null) => void;
}): JSX.Element {
  const [made, setMade] = useState<Made | null>(null);
  if (made === null) {
    return (
      <Modal title="New connection" onClose={() => onClose(null)}>
        <Form
          onCancel={() => onClose(null)}
          onMade={(connection) => {
            setMade(connection);
            onChanged();
          }}
        />
      </Modal>
    );
  }
  return (
    <Modal key="made" title={`${made.name} is made`} onClose={() => onClose(made.id)}>
      <Trial made={made} now={connections.find((one) => one.id === made.id)} onLook={onChanged} />
      <div class="dialog-body">
        <Secret what="Ingest key" text={made.ingestKey} />
        <WhatNext made={made} />
        <div class="dialog-actions">
          <button type="button" class="primary" onClick={() => onClose(made.id)}>
            Done
          </button>
        </div>
      </div>
    </Modal>
  );
}

/** What the form's fields are called in the API, so that its faults find them. */
type FieldName =
  | 'name'
  | 'brokerUrl'
  | 'queues'
  | 'keyPrefix'
  | 'fanoutPrefix'
  | 'prioritySteps'
  | 'separator'
  | 'eventExchange'
  | 'controlExchange';

function Form({ onCancel, onMade }: { onCancel: () => void; onMade: (made: Made) => void }): JSX.Element {
  const form = useRef<HTMLFormElement>(null);
  const [framework, setFramework] = useState('celery');
  const [isWatched, setWatched] = useState(true);
  const [fault, setFault] = useState<unknown>(null);
  const [isRunning, setRunning] = useState(false);
  const faults = fault instanceof Refusal ? fault.faults : [];
  const faultOf = (name: FieldName): string | null =>
    faults.find((one) => one.path.replace(/^\$?\.?/, '').split(/[.[]/)[0] === name)?.message ?? null;
  const isShownAtField = faults.length > 0 && faults.every((one) => FIELD_NAMES.some((name) => faultOf(name) === one.message));

  const submit = async (submission: Event): Promise<void> => {
    submission.preventDefault();
    if (form.current === null || isRunning) return;
    setRunning(true);
    setFault(null);
    try {
      onMade(await call<Made>('POST', CONNECTIONS, { body: bodyOf(new FormData(form.current), framework, isWatched) }));
    } catch (error) {
      setFault(error);
      setRunning(false);
    }
  };
  return (
    <form ref={form} onSubmit={(submission) => void submit(submission)}>
      <Input name="name" label="Name" isRequired fault={faultOf('name')} />
      <fieldset class="choice">
        <legend>Framework</legend>
        {[
          ['celery', 'Celery'],
          ['bullmq', 'BullMQ'],
        ].map(([value, words]) => (
          <label key={value} class="tick">
            <input
              type="radio"
              name="framework"
              value={value}
              checked={framework === value}
              onChange={() => setFramework(value ?? '')}
            />
            {words}
          </label>
        ))}
      </fieldset>
      <fieldset class="choice">
        <legend>How it is watched</legend>
        <label class="tick">
          <input type="radio" name="how" checked={isWatched} onChange={() => setWatched(true)} />
          This service reads the broker
        </label>
        <label class="tick">
          <input type="radio" name="how" checked={!isWatched} onChange={() => setWatched(false)} />
          Workers send what happens
        </label>
      </fieldset>
      {isWatched && (
        <>
          {/* Held by the field alone until it is sent: it may hold a password. */}
          <Input
            name="brokerUrl"
            label="Address of the broker"
            isRequired
            fault={faultOf('brokerUrl')}
            hint={ADDRESS_HINT}
          />
          <Input
            name="queues"
            label="Queues"
            fault={faultOf('queues')}
            hint="Names with commas between them. Empty: all that are found."
          />
          <details>
            <summary>Where your settings differ from the framework's own</summary>
            <div class="dialog-body">
              <Input
                name="keyPrefix"
                label="Prefix of every key"
                fault={faultOf('keyPrefix')}
                hint={
                  framework === 'celery'
                    ? 'global_keyprefix of the transport options'
                    : 'prefix of the queues; bull where none is set'
                }
              />
              {framework === 'celery' && (
                <>
                  <label class="tick-field">
                    <input type="checkbox" name="exactConsumers" />
                    <span>Ask the workers which queues they consume. Exact, and the one thing that writes to the broker.</span>
                  </label>
                  <Input
                    name="fanoutPrefix"
                    label="fanout_prefix"
                    fault={faultOf('fanoutPrefix')}
                    hint="With {db} for the database's number. Empty: /{db}."
                  />
                  <label class="tick-field">
                    <input type="checkbox" name="noFanoutPrefix" />
                    <span>fanout_prefix is False</span>
                  </label>
                  <label class="tick-field">
                    <input type="checkbox" name="noFanoutPatterns" />
                    <span>fanout_patterns is False</span>
                  </label>
                  <Input
                    name="prioritySteps"
                    label="priority_steps"
                    fault={faultOf('prioritySteps')}
                    hint="Numbers with commas between them. Empty: 0, 3, 6, 9"
                  />
                  <Input name="separator" label="sep" fault={faultOf('separator')} />
                  <Input
                    name="eventExchange"
                    label="event_exchange"
                    fault={faultOf('eventExchange')}
                    hint="Of Celery's configuration. Empty: celeryev"
                  />
                  <Input
                    name="controlExchange"
                    label="control_exchange"
                    fault={faultOf('controlExchange')}
                    hint="Of Celery's configuration. Empty: celery"
                  />
                </>
              )}
            </div>
          </details>
        </>
      )}
      {fault !== null && !isShownAtField && (
        <p class="fault" role="alert">
          {inWords(fault)}
        </p>
      )}
      <div class="dialog-actions">
        <button type="button" onClick={onCancel}>
          Cancel
        </button>
        <button type="submit" class="primary" disabled={isRunning}>
          Make and try it
        </button>
      </div>
    </form>
  );
}

const FIELD_NAMES: readonly FieldName[] = [
  'name',
  'brokerUrl',
  'queues',
  'keyPrefix',
  'fanoutPrefix',
  'prioritySteps',
  'separator',
  'eventExchange',
  'controlExchange',
];

const ADDRESS_HINT = `redis://user:password@host:port/database. It is stored encrypted, and never shown again. The operator of this service \
says which hosts may be watched.`;

function bodyOf(data: FormData, framework: string, isWatched: boolean): Record<string, unknown> {
  const text = (name: string): string => String(data.get(name) ?? '').trim();
  const list = (name: string): string[] =>
    text(name)
      .split(',')
      .map((part) => part.trim())
      .filter((part) => part !== '');
  const body: Record<string, unknown> = { name: text('name'), framework };
  if (!isWatched) return body;
  body.brokerUrl = text('brokerUrl');
  if (list('queues').length > 0) body.queues = list('queues');
  if (text('keyPrefix') !== '') body.keyPrefix = text('keyPrefix');
  if (framework !== 'celery') return body;
  if (data.has('exactConsumers')) body.exactConsumers = true;
  if (data.has('noFanoutPrefix')) body.fanoutPrefix = '';
  else if (text('fanoutPrefix') !== '') body.fanoutPrefix = text('fanoutPrefix');
  if (data.has('noFanoutPatterns')) body.fanoutPatterns = false;
  if (list('prioritySteps').length > 0) body.prioritySteps = list('prioritySteps').map(Number);
  for (const name of ['separator', 'eventExchange', 'controlExchange']) {
    if (text(name) !== '') body[name] = text(name);
  }
  return body;
}

function Input({
  name,
  label,
  hint,
  fault,
  isRequired = false,
}: {
  name: FieldName;
  label: string;
  hint?: ComponentChildren;
  fault: string | null;
  isRequired?: boolean;
}): JSX.Element {
  const id = useId();
  return (
    <div class="field">
      <label for={id}>{label}</label>
      <input
        id={id}
        name={name}
        type="text"
        required={isRequired}
        autocomplete="off"
        spellcheck={false}
        autocapitalize="off"
        aria-invalid={fault !== null}
        aria-describedby={`${id}-hint ${id}-fault`}
      />
      <p class="fault" id={`${id}-fault`} role="alert">
        {fault}
      </p>
      {hint !== undefined && (
        <p class="hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

const LOOK_EVERY_MS = 1_000;

/** How the first try goes: told as soon as it is known. */
function Trial({ made, now, onLook }: { made: Made; now: Connection | undefined; onLook: () => void }): JSX.Element | null {
  const current = now ?? made;
  const health = healthOf(current);
  const isSettled = health.tone === 'good' || health.tone === 'bad' || health.tone === 'plain';
  useEffect(() => {
    if (isSettled) return undefined;
    const timer = setInterval(onLook, LOOK_EVERY_MS);
    return () => clearInterval(timer);
  }, [isSettled]);
  if (health.tone === 'plain') return null;
  return (
    <p class="trial" role="status" data-tone={health.tone}>
      <Badge tone={health.tone}>{health.label}</Badge>
      {health.tone === 'good' ? 'The broker answers, and is watched.' : (health.advice ?? 'It is being tried.')}
    </p>
  );
}

/** What has to be done elsewhere, without which nothing is seen. */
function WhatNext({ made }: { made: Made }): JSX.Element {
  if (!made.health) {
    return (
      <>
        <p>Workers prove with it who they are. What is sent so appears at once:</p>
        <Command
          text={`curl -X POST ${location.origin}/api/ingest \\
  -H "Authorization: Bearer $INGEST_KEY" -H 'Content-Type: application/json' \\
  -d '{"events":[{"type":"job:state_change","framework":"${made.framework}","connectionId":"${made.id}",
       "timestamp":"'$(date -u +%FT%TZ)'","job":{"externalId":"1","name":"first","queue":"default","state":"queued"}}]}'`}
        />
      </>
    );
  }
  if (made.framework === 'celery') {
    return (
      <>
        <p>
          It is only needed where workers send events themselves. What Celery has to tell, it tells only when it is asked to:
          start workers with <code>-E</code>, and where tasks are sent, set:
        </p>
        <Command text="app.conf.task_send_sent_event = True" />
      </>
    );
  }
  return (
    <p>It is only needed where workers send events themselves. BullMQ's own events are read without any change to your code.</p>
  );
}
