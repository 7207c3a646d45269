// API keys: made, rotated and revoked. A key's text is seen once.

import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

import { call, pathPart } from '../../api/client';
import { inWords } from '../../api/errors';
import { readSession } from '../../api/session';
import type { ApiKey, Scope, Shape } from '../../api/types';
import { addShortcut } from '../../app/keyboard';
import { parameter, setParameters } from '../../app/router';
import { byText } from '../../live/sorted';
import { ask, FieldInput, Modal } from '../../ui/dialog';
import { Drawer } from '../../ui/drawer';
import { plural } from '../../ui/format';
import { Badge, Empty, Fact, Facts, Moment, Name } from '../../ui/parts';
import { useReading } from '../../ui/reading';
import { SecretDialog } from '../../ui/secret';
import { Table, type Column } from '../../ui/table';
import { tell } from '../../ui/toasts';

const KEYS = '/api/v1/keys';
const open = parameter('open');
const search = parameter('q');

const SCOPES: Record<Scope, string> = {
  read: 'see what is held, who waits, and what happens',
  write: 'reserve, release, register, publish',
  admin: 'manage keys and connections, delete resources, release by force, reset',
};

export function Keys(): JSX.Element {
  const reading = useReading<ApiKey[]>(readKeys, [], { soonMs: 0, everyMs: 15_000 });
  const [isMaking, setMaking] = useState(false);
  const [secret, setSecret] = useState<Shape<'KeyWithText'> | null>(null);
  useEffect(() => addShortcut({ keys: 'n', what: 'New API key', run: () => setMaking(true) }), []);
  const changed = (): void => {
    reading.again();
    void readSession().catch(() => {}); // the limit of keys; what is wrong with the service, the state beside its name says
  };
  const needle = search.value.trim().toLowerCase();
  const rows = (reading.value ?? [])
    .filter((key) => key.label.toLowerCase().includes(needle))
    .sort((a, b) => byText(a.createdAt, b.createdAt) || byText(a.id, b.id));
  const chosen = reading.value?.find((key) => key.id === open.value) ?? null;
  return (
    <div class="split">
      <div class="pane">
        <div class="toolbar">
          <p class="tally" id="key-tally">
            {reading.value === undefined ? '' : plural(reading.value.length, 'key')}
          </p>
          <input
            class="search"
            type="search"
            aria-label="Search API keys by label"
            placeholder="Search labels…"
            value={search.value}
            onInput={(input) => setParameters({ q: input.currentTarget.value })}
          />
          <button type="button" class="primary" onClick={() => setMaking(true)}>
            New API key
          </button>
        </div>
        {reading.fault !== null && (
          <p class="stale" role="alert">
            {inWords(reading.fault)}
          </p>
        )}
        {reading.value !== undefined && rows.length === 0 ? (
          <Empty title="No key has such a label." />
        ) : (
          <Table
            label="API keys"
            columns={COLUMNS}
            rows={rows}
            version={reading.asOfMs}
            keyOf={(key) => key.id}
            openKey={chosen?.id ?? null}
            onOpen={(key) => setParameters({ open: key.id }, 'push')}
          />
        )}
      </div>
      {chosen !== null && <KeyDrawer apiKey={chosen} onChanged={changed} onSecret={setSecret} />}
      {isMaking && (
        <NewKey
          onClose={() => setMaking(false)}
          onMade={(key) => {
            setMaking(false);
            setSecret(key);
            changed();
          }}
        />
      )}
      {secret !== null && (
        <SecretDialog title={`The key "${secret.label}"`} what="API key" text={secret.apiKey} onClose={() => setSecret(null)}>
          <p>It may {secret.scopes.map((scope) => SCOPES[scope]).join('; ')}.</p>
        </SecretDialog>
      )}
    </div>
  );
}

async function readKeys(signal: AbortSignal): Promise<ApiKey[]> {
  const list: Shape<'KeyList'> = await call('GET', KEYS, { signal });
  return list.keys;
}

const COLUMNS: Column<ApiKey>[] = [
  { id: 'label', title: 'Label', width: 'minmax(9rem, 2fr)', onPhone: 'title', cell: (key) => <Name text={key.label} /> },
  { id: 'scopes', title: 'May', width: 'minmax(10rem, 1fr)', onPhone: 'second', cell: (key) => <Scopes scopes={key.scopes} /> },
  { id: 'used', title: 'Last used', width: '8rem', onPhone: 'end', cell: (key) => <Moment iso={key.lastUsedAt} /> },
  { id: 'created', title: 'Created', width: '8rem', onPhone: 'none', cell: (key) => <Moment iso={key.createdAt} /> },
];

function Scopes({ scopes }: { scopes: Scope[] }): JSX.Element {
  return (
    <>
      {scopes.map((scope) => (
        <Badge key={scope} tone={scope === 'admin' ? 'warn' : 'plain'}>
          {scope}
        </Badge>
      ))}
    </>
  );
}

function KeyDrawer({
  apiKey,
  onChanged,
  onSecret,
}: {
  apiKey: ApiKey;
  onChanged: () => void;
  onSecret: (key: Shape<'KeyWithText'>) => void;
}): JSX.Element {
  return (
    <Drawer kind="API key" title={apiKey.label} onClose={() => setParameters({ open: null })}>
      <Facts>
        <Fact name="May">
          <ul>
            {apiKey.scopes.map((scope) => (
              <li key={scope}>
                <strong>{scope}</strong>: {SCOPES[scope]}
              </li>
            ))}
          </ul>
        </Fact>
        <Fact name="Last used">
          <Moment iso={apiKey.lastUsedAt} />
        </Fact>
        <Fact name="Created">
          <Moment iso={apiKey.createdAt} />
        </Fact>
        <Fact name="Id">
          <code>{apiKey.id}</code>
        </Fact>
      </Facts>
      <p class="hint">If it is the key that you signed in with, rotating or revoking it signs you out.</p>
      <div class="actions">
        <button type="button" onClick={() => void rotate(apiKey, onChanged, onSecret)}>
          Rotate…
        </button>
        <button type="button" class="danger" onClick={() => void revoke(apiKey, onChanged)}>
          Revoke…
        </button>
      </div>
    </Drawer>
  );
}

async function rotate(apiKey: ApiKey, onChanged: () => void, onSecret: (key: Shape<'KeyWithText'>) => void): Promise<void> {
  const made: Shape<'KeyWithText'>[] = [];
  const answer = await ask({
    title: `Rotate "${apiKey.label}"?`,
    body: (
      <p>
        It gets a new text, which is shown once. The old one is refused from that moment on, and its streams and sessions end.
      </p>
    ),
    action: 'Rotate',
    isDangerous: true,
    run: async () => {
      made[0] = await call('POST', `${KEYS}/${pathPart(apiKey.id)}/rotate`);
    },
  });
  if (answer === null || made[0] === undefined) return;
  onSecret(made[0]);
  onChanged();
}

async function revoke(apiKey: ApiKey, onChanged: () => void): Promise<void> {
  const answer = await ask({
    title: `Revoke "${apiKey.label}"?`,
    body: (
      <p>
        It is refused from now on, and cannot be brought back. Its streams and sessions end; what was reserved with it stays
        reserved.
      </p>
    ),
    action: 'Revoke',
    isDangerous: true,
    run: () => call('DELETE', `${KEYS}/${pathPart(apiKey.id)}`),
  });
  if (answer === null) return;
  setParameters({ open: null });
  tell(`The key ${apiKey.label} was revoked.`);
  onChanged();
}

function NewKey({ onClose, onMade }: { onClose: () => void; onMade: (key: Shape<'KeyWithText'>) => void }): JSX.Element {
  const [label, setLabel] = useState('');
  const [fault, setFault] = useState<string | null>(null);
  const [isRunning, setRunning] = useState(false);
  const form = useRef<HTMLFormElement>(null);
  const submit = async (submission: Event): Promise<void> => {
    submission.preventDefault();
    if (form.current === null || isRunning) return;
    const scopes = new FormData(form.current).getAll('scope');
    if (scopes.length === 0) return setFault('Choose at least one thing that it may do.');
    setRunning(true);
    setFault(null);
    try {
      onMade(await call('POST', KEYS, { body: { label, scopes } }));
    } catch (error) {
      setFault(inWords(error));
      setRunning(false);
    }
  };
  return (
    <Modal title="New API key" onClose={onClose}>
      <form ref={form} onSubmit={(submission) => void submit(submission)}>
        <FieldInput
          field={{
            name: 'label',
            label: 'Label',
            hint: 'Who or what uses it. It stands in every event that the key causes.',
            isRequired: true,
          }}
          value={label}
          onValue={setLabel}
        />
        <fieldset class="scopes">
          <legend>What it may do</legend>
          {(Object.keys(SCOPES) as Scope[]).map((scope) => (
            <label key={scope} class="tick-field">
              <input type="checkbox" name="scope" value={scope} defaultChecked={scope !== 'admin'} />
              <span>
                <strong>{scope}</strong>: {SCOPES[scope]}
              </span>
            </label>
          ))}
        </fieldset>
        {fault !== null && (
          <p class="fault" role="alert">
            {fault}
          </p>
        )}
        <div class="dialog-actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="primary" disabled={isRunning}>
            Make the key
          </button>
        </div>
      </form>
    </Modal>
  );
}
