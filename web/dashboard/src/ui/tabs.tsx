// Parts of a view, each with an address of its own. Links, not a tab list: Back leads to the part before.

import type { JSX } from 'preact';

import { hrefOf } from '../app/router';

export interface Tab {
  id: string;
  title: string;
  count?: string | undefined;
}

export function Tabs({
  view,
  label,
  tabs,
  current,
  kept,
}: {
  view: string;
  label: string;
  tabs: readonly Tab[];
  current: string;
  /** Parameters that every part shares. */
  kept?: Record<string, string>;
}): JSX.Element {
  return (
    <nav class="tabs" aria-label={label}>
      {tabs.map((tab) => (
        <a key={tab.id} href={hrefOf(view, { ...kept, show: tab.id })} aria-current={tab.id === current ? 'page' : undefined}>
          {tab.title}
          {tab.count !== undefined && <span class="tab-count">{tab.count}</span>}
        </a>
      ))}
    </nav>
  );
}
