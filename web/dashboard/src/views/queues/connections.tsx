// Connections to brokers, and of those who push: their health, making and deleting them.

import type { JSX } from 'preact';
import { useEffect, useState } from 'preact/hooks';

import { call, pathPart } from '../../api/client';
import type { Connection } from '../../api/types';
import { addShortcut } from '../../app/keyboard';
import { hrefOf, parameter, setParameters } from '../../app/router';
import { byText } from '../../live/sorted';
import { ask } from '../../ui/dialog';
import { Drawer } from '../../ui/drawer';
import { duration, plural } from '../../ui/format';
import { Age, Badge, Empty, Fact, Facts, Moment, Name } from '../../ui/parts';
import { Table, type Column, type Sort } from '../../ui/table';
import { tell } from '../../ui/toasts';
import { NewConnection } from './new-connection';
import { CONNECTIONS } from './reads';
import { readOrder, sorted, writeOrder } from './sorting';
import { consumersInWords, FRAMEWORKS, healthOf } from './words';

const open = parameter('open');
const sortText = parameter('sort');
const FIRST: Sort = { column: 'name', isDescending: false };

export function Connections({ connections, onChanged }: { connections: Connection[]; onChanged: () => void }): JSX.Element {
  const [isMaking, setMaking] = useState(false);
  const begin = (): void => {
    setParameters({ show: 'connections' }); // the first connection gives other parts something to show: this one is meant
    setMaking(true);
  };
  useEffect(() => addShortcut({ keys: 'n', what: 'New connection', run: begin }), []);
  const sort = readOrder(sortText.value, Object.keys(ORDERS), FIRST);
  const rows = sorted([...connections], ORDERS[sort.column], sort, (row) => row.name);
  const chosen = rows.find((row) => row.id === open.value) ?? null;
  const create = (
    <button type="button" class="primary" onClick={begin}>
      New connection
    </button>
  );
  return (
    <div class="split">
      <div class="pane">
        {rows.length === 0 ? (
          <Empty title="No queue is watched yet.">
            <p>Make a connection to the Redis of Celery or BullMQ: it is only read. Or have your workers send what happens.</p>
            <p>{create}</p>
          </Empty>
        ) : (
          <>
            <div class="toolbar">
              <p class="tally">{plural(rows.length, 'connection')}</p>
              {create}
            </div>
            <Table
              label="Connections"
              columns={COLUMNS}
              rows={rows}
              version={rows.length}
              keyOf={(row) => row.id}
              sort={sort}
              onSort={(next) => setParameters({ sort: writeOrder(next, FIRST) })}
              openKey={chosen?.id ?? null}
              onOpen={(row) => setParameters({ open: row.id }, 'push')}
            />
          </>
        )}
      </div>
      {chosen !== null && <ConnectionDrawer connection={chosen} onChanged={onChanged} />}
      {isMaking && (
        <NewConnection
          connections={connections}
          onChanged={onChanged}
          onClose={(made) => {
            setMaking(false);
            if (made !== null) setParameters({ connection: made, open: made }, 'push');
          }}
        />
      )}
    </div>
  );
}

const ORDERS: Record<string, (a: Connection, b: Connection) => number> = {
  name: (a, b) => byText(a.name, b.name),
  framework: (a, b) => byText(a.framework, b.framework),
  health: (a, b) => byText(healthOf(a).label, healthOf(b).label),
  lag: (a, b) => (a.health?.lagMs ?? -1) - (b.health?.lagMs ?? -1),
  created: (a, b) => byText(a.createdAt, b.createdAt),
};

const COLUMNS: Column<Connection>[] = [
  {
    id: 'name',
    title: 'Connection',
    width: 'minmax(9rem, 2fr)',
    isSortable: true,
    onPhone: 'title',
    cell: (row) => <Name text={row.name} />,
  },
  {
    id: 'health',
    title: 'Health',
    width: '7.5rem',
    isSortable: true,
    onPhone: 'end',
    cell: (row) => <Badge tone={healthOf(row).tone}>{healthOf(row).label}</Badge>,
  },
  {
    id: 'framework',
    title: 'Framework',
    width: '7rem',
    isSortable: true,
    onPhone: 'second',
    cell: (row) => FRAMEWORKS[row.framework],
  },
  {
    id: 'event',
    title: 'Last event',
    width: '7.5rem',
    onPhone: 'second',
    cell: (row) => <Moment iso={row.health?.lastEventAt} />,
  },
  {
    id: 'lag',
    title: 'Lag',
    width: '5.5rem',
    isSortable: true,
    isNumber: true,
    onPhone: 'none',
    cell: (row) => (row.health?.lagMs == null ? <span class="quiet">—</span> : duration(row.health.lagMs)),
  },
  {
    id: 'created',
    title: 'Created',
    width: '8rem',
    isSortable: true,
    onPhone: 'none',
    cell: (row) => <Moment iso={row.createdAt} />,
  },
];

function ConnectionDrawer({ connection, onChanged }: { connection: Connection; onChanged: () => void }): JSX.Element {
  const health = healthOf(connection);
  return (
    <Drawer kind="Connection" title={connection.name} onClose={() => setParameters({ open: null })}>
      <Facts>
        <Fact name="Health">
          <Badge tone={health.tone}>{health.label}</Badge>
        </Fact>
        {connection.health?.connectedSince != null && (
          <Fact name="Watched for">
            <Age iso={connection.health.connectedSince} />
          </Fact>
        )}
        <Fact name="Last event">
          <Moment iso={connection.health?.lastEventAt} />
        </Fact>
        {connection.health?.lagMs != null && (
          <Fact name="Lag">{duration(connection.health.lagMs)} from the event to this service</Fact>
        )}
        <Fact name="Framework">{FRAMEWORKS[connection.framework]}</Fact>
        <Fact name="Queues">{connection.queues.length === 0 ? 'all that are found' : connection.queues.join(', ')}</Fact>
        {connection.keyPrefix != null && (
          <Fact name="Key prefix">
            <code>{connection.keyPrefix}</code>
          </Fact>
        )}
        {connection.health != null && <Fact name="Consumers">{consumersInWords(connection.consumersSource)}</Fact>}
        <Fact name="Created">
          <Moment iso={connection.createdAt} />
        </Fact>
        <Fact name="Id">
          <code>{connection.id}</code>
        </Fact>
      </Facts>
      {health.advice !== null && (
        <p class={health.tone === 'bad' ? 'fault' : 'hint'} id="advice">
          {health.advice}
        </p>
      )}
      <div class="actions">
        <a href={hrefOf('queues', { connection: connection.id, show: 'queues' })}>Its queues</a>
        <a href={hrefOf('queues', { connection: connection.id, show: 'jobs' })}>Its jobs</a>
      </div>
      <p class="hint">A connection is not changed: make another one, and delete this one.</p>
      <div class="actions">
        <button type="button" class="danger" onClick={() => void remove(connection, onChanged)}>
          Delete…
        </button>
      </div>
    </Drawer>
  );
}

async function remove(connection: Connection, onChanged: () => void): Promise<void> {
  const answer = await ask({
    title: `Delete "${connection.name}"?`,
    body: (
      <p>
        Its jobs, workers and queues are forgotten, and its ingest key is refused from now on. The broker and what is in it stay
        as they are.
      </p>
    ),
    word: 'delete',
    action: 'Delete',
    isDangerous: true,
    run: () => call('DELETE', `${CONNECTIONS}/${pathPart(connection.id)}`),
  });
  if (answer === null) return;
  setParameters({ open: null, connection: null });
  onChanged();
  tell(`${connection.name} was deleted.`);
}
