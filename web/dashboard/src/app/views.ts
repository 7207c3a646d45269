// The views of the dashboard, in the order of their links. Each is a folder of `src/views/`, loaded when it is first shown.

import type { ComponentType } from 'preact';

import type { Scope } from '../api/types';

export interface View {
  /** Its place in the address, and its folder. */
  path: string;
  /** The words of its link. */
  title: string;
  /** Goes there, after `g`. */
  key: string;
  /** What the key must be allowed to do for the view to be offered. */
  scope: Scope;
  load: () => Promise<{ default: ComponentType }>;
}

export const VIEWS: readonly View[] = [
  { path: 'reservations', title: 'Reservations', key: 'r', scope: 'read', load: () => import('../views/reservations') },
  { path: 'waiting', title: 'Waiting', key: 'w', scope: 'read', load: () => import('../views/waiting') },
  { path: 'resources', title: 'Resources', key: 's', scope: 'read', load: () => import('../views/resources') },
  { path: 'events', title: 'Events', key: 'e', scope: 'read', load: () => import('../views/events') },
  { path: 'queues', title: 'Queues', key: 'q', scope: 'read', load: () => import('../views/queues') },
  { path: 'usage', title: 'Usage', key: 'u', scope: 'read', load: () => import('../views/usage') },
  { path: 'charts', title: 'Charts', key: 'c', scope: 'read', load: () => import('../views/charts') },
];

export const FIRST_VIEW = 'reservations';
