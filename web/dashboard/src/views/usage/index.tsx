// What the tenant may use and uses, its API keys, and, for who runs the service, its tenants.

import type { JSX } from 'preact';

import { may, session } from '../../api/session';
import { parameter } from '../../app/router';
import { Tabs } from '../../ui/tabs';
import { Keys } from './keys';
import { Limits } from './limits';
import { Tenants } from './tenants';
import './usage.css';

const shown = parameter('show');

export default function Usage(): JSX.Element {
  const tabs = [
    { id: 'limits', title: 'Limits' },
    ...(may('admin') ? [{ id: 'keys', title: 'API keys' }] : []),
    { id: 'tenants', title: 'Tenants' },
  ];
  const tab = tabs.find((known) => known.id === shown.value)?.id ?? 'limits';
  return (
    <>
      <div class="toolbar">
        <h1>Usage</h1>
        <p class="tally">
          <strong>{session.value?.name}</strong> · tier {session.value?.tier}
        </p>
      </div>
      <Tabs view="usage" label="Of usage" tabs={tabs} current={tab} />
      {tab === 'limits' && <Limits />}
      {tab === 'keys' && <Keys />}
      {tab === 'tenants' && <Tenants />}
    </>
  );
}
