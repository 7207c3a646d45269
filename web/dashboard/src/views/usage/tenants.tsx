// The tenants of the service, for who has its admin key.

import type { JSX } from 'preact';
import { useState } from 'preact/hooks';

import { call, pathPart } from '../../api/client';
import { session } from '../../api/session';
import type { Shape, Tenant, Tier } from '../../api/types';
import { parameter, setParameters } from '../../app/router';
import { byText } from '../../live/sorted';
import type { Field } from '../../ui/dialog';
import { Drawer } from '../../ui/drawer';
import { plural, span } from '../../ui/format';
import { Badge, Empty, Fact, Facts, Moment, Name } from '../../ui/parts';
import { SecretDialog } from '../../ui/secret';
import { Table, type Column } from '../../ui/table';
import { tell } from '../../ui/toasts';
import { AdminDialog } from './admin-dialog';

const TENANTS = '/api/v1/admin/tenants';
const PAGE = 1_000;
const MOST_PAGES = 20;
const TIERS: readonly Tier[] = ['Free', 'Starter', 'Pro', 'Enterprise'];
const open = parameter('open');
const search = parameter('q');

type Asked = { what: 'list' } | { what: 'create' } | { what: 'change' | 'delete'; tenant: Tenant };

export function Tenants(): JSX.Element {
  const [tenants, setTenants] = useState<Tenant[] | null>(null);
  const [isWhole, setWhole] = useState(true);
  const [asked, setAsked] = useState<Asked | null>(null);
  const [made, setMade] = useState<Shape<'NewTenant'> | null>(null);
  const needle = search.value.trim().toLowerCase();
  const rows = (tenants ?? [])
    .filter((tenant) => tenant.name.toLowerCase().includes(needle) || tenant.tenantId.includes(needle))
    .sort((a, b) => byText(a.name, b.name) || byText(a.tenantId, b.tenantId));
  const chosen = tenants?.find((tenant) => tenant.tenantId === open.value) ?? null;

  const list = async (adminKey: string): Promise<void> => {
    const read = await readTenants(adminKey);
    setTenants(read.tenants);
    setWhole(read.isWhole);
  };
  const replace = (id: string, tenant: Tenant | null): void => {
    setTenants((known) => known?.flatMap((one) => (one.tenantId !== id ? [one] : tenant === null ? [] : [tenant])) ?? null);
  };
  return (
    <div class="split">
      <div class="pane">
        <div class="toolbar">
          {tenants !== null && (
            <>
              <p class="tally" id="tenant-tally">
                {plural(tenants.length, 'tenant')}
                {!isWhole && ', and there are more'}
              </p>
              <input
                class="search"
                type="search"
                aria-label="Search tenants by name or id"
                placeholder="Search names, ids…"
                value={search.value}
                onInput={(input) => setParameters({ q: input.currentTarget.value })}
              />
            </>
          )}
          <button type="button" onClick={() => setAsked({ what: 'list' })}>
            {tenants === null ? 'Show tenants…' : 'Read again…'}
          </button>
          <button type="button" class="primary" onClick={() => setAsked({ what: 'create' })}>
            New tenant…
          </button>
        </div>
        {tenants === null ? (
          <Empty title="Tenants are shown to who has the admin key of the service.">
            <p>Each action asks for it anew: no session stands for that key, and this page keeps it nowhere.</p>
          </Empty>
        ) : rows.length === 0 ? (
          <Empty title={tenants.length === 0 ? 'There is no tenant yet.' : 'No tenant matches.'} />
        ) : (
          <Table
            label="Tenants"
            columns={COLUMNS}
            rows={rows}
            version={rows.length}
            keyOf={(tenant) => tenant.tenantId}
            openKey={chosen?.tenantId ?? null}
            onOpen={(tenant) => setParameters({ open: tenant.tenantId }, 'push')}
          />
        )}
      </div>
      {chosen !== null && <TenantDrawer tenant={chosen} onAsk={setAsked} />}
      {asked?.what === 'list' && <AdminDialog title="Show the tenants" action="Show" run={list} onClose={() => setAsked(null)} />}
      {asked?.what === 'create' && (
        <AdminDialog
          title="New tenant"
          action="Make the tenant"
          fields={[{ name: 'name', label: 'Name', isRequired: true }, tierField('Enterprise')]}
          onClose={() => setAsked(null)}
          run={async (adminKey, { name, tier }) => {
            const tenant = await call<Shape<'NewTenant'>>('POST', TENANTS, { adminKey, body: { name, tier } });
            setMade(tenant);
            if (tenants !== null) await list(adminKey);
          }}
        />
      )}
      {asked?.what === 'change' && (
        <Change tenant={asked.tenant} onClose={() => setAsked(null)} onChanged={(tenant) => replace(tenant.tenantId, tenant)} />
      )}
      {asked?.what === 'delete' && (
        <AdminDialog
          title={`Delete "${asked.tenant.name}"?`}
          action="Delete"
          word={asked.tenant.name}
          isDangerous
          onClose={() => setAsked(null)}
          run={async (adminKey) => {
            await call('DELETE', `${TENANTS}/${pathPart(asked.tenant.tenantId)}`, { adminKey });
            setParameters({ open: null });
            replace(asked.tenant.tenantId, null);
            tell(`${asked.tenant.name} was deleted.`);
          }}>
          <p>All that it has goes with it: reservations, resources, keys, events, connections. Nothing brings it back.</p>
          {asked.tenant.tenantId === session.value?.tenantId && <p class="fault">It is the tenant that you are signed in to.</p>}
        </AdminDialog>
      )}
      {made !== null && (
        <SecretDialog
          title={`The tenant "${made.name}"`}
          what="Its first API key"
          text={made.apiKey}
          onClose={() => setMade(null)}>
          <Facts>
            <Fact name="Tenant id">
              <code>{made.tenantId}</code>
            </Fact>
            <Fact name="Tier">{made.tier}</Fact>
          </Facts>
          <p>The key may do everything for its tenant. Further keys are made with it.</p>
        </SecretDialog>
      )}
    </div>
  );
}

async function readTenants(adminKey: string): Promise<{ tenants: Tenant[]; isWhole: boolean }> {
  const tenants: Tenant[] = [];
  let cursor: string | null = null;
  for (let page = 0; page < MOST_PAGES; page++) {
    const list: Shape<'TenantList'> = await call('GET', TENANTS, { adminKey, query: { limit: PAGE, cursor } });
    tenants.push(...list.tenants);
    cursor = list.nextCursor ?? null;
    if (cursor === null) return { tenants, isWhole: true };
  }
  return { tenants, isWhole: false };
}

function tierField(value: Tier): Field {
  return {
    name: 'tier',
    label: 'Tier',
    value,
    choices: TIERS.map((tier) => ({ value: tier, label: tier })),
    hint: 'What it may use. The limits of each tier stand in the tiers file of the service.',
  };
}

const COLUMNS: Column<Tenant>[] = [
  { id: 'name', title: 'Tenant', width: 'minmax(9rem, 2fr)', onPhone: 'title', cell: (tenant) => <Name text={tenant.name} /> },
  { id: 'tier', title: 'Tier', width: '7rem', onPhone: 'end', cell: (tenant) => <Badge tone="plain">{tenant.tier}</Badge> },
  {
    id: 'registration',
    title: 'Names',
    width: '9rem',
    onPhone: 'second',
    cell: (tenant) => (tenant.requireRegistration ? 'registered only' : 'any'),
  },
  {
    id: 'default',
    title: 'Ends unless said',
    width: '9rem',
    onPhone: 'none',
    cell: (tenant) => seconds(tenant.defaultTtlSeconds, 'never'),
  },
  { id: 'most', title: 'Longest', width: '7rem', onPhone: 'none', cell: (tenant) => seconds(tenant.maxTtlSeconds, 'no bound') },
  { id: 'created', title: 'Created', width: '8rem', onPhone: 'second', cell: (tenant) => <Moment iso={tenant.createdAt} /> },
];

function seconds(n: number | null | undefined, none: string): JSX.Element {
  return n == null ? <span class="quiet">{none}</span> : <span class="number">{span(n * 1000)}</span>;
}

function TenantDrawer({ tenant, onAsk }: { tenant: Tenant; onAsk: (asked: Asked) => void }): JSX.Element {
  return (
    <Drawer kind="Tenant" title={tenant.name} onClose={() => setParameters({ open: null })}>
      <Facts>
        <Fact name="Tier">{tenant.tier}</Fact>
        <Fact name="Names">
          {tenant.requireRegistration ? 'Only registered resources can be reserved.' : 'Any name can be reserved.'}
        </Fact>
        <Fact name="Ends unless said">
          {tenant.defaultTtlSeconds == null ? (
            'A reservation that names no time to live has no end.'
          ) : (
            <>after {seconds(tenant.defaultTtlSeconds, '')}</>
          )}
        </Fact>
        <Fact name="Longest">{tenant.maxTtlSeconds == null ? 'There is no bound.' : seconds(tenant.maxTtlSeconds, '')}</Fact>
        <Fact name="Created">
          <Moment iso={tenant.createdAt} />
        </Fact>
        <Fact name="Id">
          <code>{tenant.tenantId}</code>
        </Fact>
      </Facts>
      <div class="actions">
        <button type="button" onClick={() => onAsk({ what: 'change', tenant })}>
          Change…
        </button>
        <button type="button" class="danger" onClick={() => onAsk({ what: 'delete', tenant })}>
          Delete…
        </button>
      </div>
    </Drawer>
  );
}

function Change({
  tenant,
  onClose,
  onChanged,
}: {
  tenant: Tenant;
  onClose: () => void;
  onChanged: (tenant: Tenant) => void;
}): JSX.Element {
  const fields: Field[] = [
    tierField(tenant.tier),
    {
      name: 'registration',
      label: 'Names that can be reserved',
      value: String(tenant.requireRegistration),
      choices: [
        { value: 'false', label: 'any' },
        { value: 'true', label: 'registered resources only' },
      ],
    },
    {
      name: 'default',
      label: 'Time to live where a request names none, in seconds',
      kind: 'number',
      value: String(tenant.defaultTtlSeconds ?? ''),
      hint: 'Empty: such a reservation has no end.',
    },
    {
      name: 'most',
      label: 'Longest time to live, in seconds',
      kind: 'number',
      value: String(tenant.maxTtlSeconds ?? ''),
      hint: 'Empty: there is no bound.',
    },
  ];
  return (
    <AdminDialog
      title={`Change "${tenant.name}"`}
      action="Change"
      fields={fields}
      onClose={onClose}
      run={async (adminKey, answers) => {
        const body = {
          tier: answers.tier,
          requireRegistration: answers.registration === 'true',
          defaultTtlSeconds: Number(answers.default ?? 0),
          maxTtlSeconds: Number(answers.most ?? 0),
        };
        onChanged(await call<Tenant>('PATCH', `${TENANTS}/${pathPart(tenant.tenantId)}`, { adminKey, body }));
        tell(`${tenant.name} was changed.`);
      }}
    />
  );
}
