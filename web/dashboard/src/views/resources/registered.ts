// What is registered, and what of it is taken.

import { effect, signal } from '@preact/signals';

import { call } from '../../api/client';
import { inWords } from '../../api/errors';
import { tenantId } from '../../api/session';
import type { Resource, Shape } from '../../api/types';
import type { Row } from '../../live/board';
import { byText } from '../../live/sorted';
import { board } from '../../live/store';

const PAGE = 1_000;
const READ_AGAIN_MS = 60_000; // no event tells of a registration that somebody else makes

/** In the order of the tree: what stands below another follows it. */
export const registered = signal<readonly Resource[]>([]);
export const isRead = signal(false);
export const readFault = signal<string | null>(null);

let readAtMs = -Infinity;
let reading: Promise<void> | null = null;

export function readAll(): Promise<void> {
  reading ??= read().finally(() => { reading = null; });
  return reading;
}

async function read(): Promise<void> {
  try {
    const found: Resource[] = [];
    let cursor: string | null = null;
    do {
      const page: Shape<'ResourceList'> = await call('GET', '/api/v1/Resource', { query: { limit: PAGE, cursor } });
      found.push(...page.resources);
      cursor = page.nextCursor ?? null;
    } while (cursor !== null);
    const keyed = found.map((resource) => ({ resource, key: pathOf(resource).replaceAll('>', '\0') }));
    keyed.sort((a, b) => byText(a.key, b.key));
    registered.value = keyed.map(({ resource }) => resource);
    isRead.value = true;
    readFault.value = null;
    readAtMs = performance.now();
  } catch (fault) {
    readFault.value = inWords(fault);
  }
}

/** Reads when what is known has become old. */
export function readIfOld(): void {
  if (performance.now() - readAtMs > READ_AGAIN_MS) void readAll();
}

export function pathOf(resource: Resource): string {
  return resource.treePath ? `${resource.treePath}>${resource.name}` : resource.name;
}

effect(() => {
  tenantId.value;
  registered.value = [];
  isRead.value = false;
  readAtMs = -Infinity;
});

/** The taken slots of each pool, by the pool's name. */
const slots = new Map<string, Map<string, Row>>();

board.listen({
  changed(before, after) {
    if (before?.pool) slots.get(before.pool)?.delete(before.resource);
    if (after?.pool) slotsIn(after.pool).set(after.resource, after);
  },
  filled: addSlots,
  replaced() {
    slots.clear();
    addSlots(board.rows());
  },
});
addSlots(board.rows());

function addSlots(rows: Iterable<Row>): void {
  for (const row of rows) if (row.pool) slotsIn(row.pool).set(row.resource, row);
}

function slotsIn(pool: string): Map<string, Row> {
  let found = slots.get(pool);
  if (found === undefined) {
    found = new Map();
    slots.set(pool, found);
  }
  return found;
}

const NONE: ReadonlyMap<string, Row> = new Map();

/** The rows that take a resource, by its own name or as slots. */
export function takenOf(resource: Resource): readonly Row[] {
  const taken = [...(slots.get(resource.name) ?? NONE).values()];
  const own = board.row(resource.name);
  return own === undefined || own.pool ? taken : [own, ...taken];
}

export type Use = 'free' | 'part' | 'full' | 'above' | 'below';

/** How a resource is used: itself, or through what stands above or below it in its tree. */
export function useOf(resource: Resource, heldBelow: ReadonlySet<string>): Use {
  const taken = takenOf(resource).length;
  if (taken >= resource.capacity) return 'full';
  if (taken > 0) return 'part';
  if (resource.ancestors.some((name) => board.row(name) !== undefined)) return 'above';
  return heldBelow.has(resource.name) ? 'below' : 'free';
}

/** The nodes below which something is held. */
export function nodesAboveHeld(resources: readonly Resource[]): Set<string> {
  const found = new Set<string>();
  for (const resource of resources) {
    if (resource.ancestors.length === 0 || takenOf(resource).length === 0) continue;
    for (const name of resource.ancestors) found.add(name);
  }
  return found;
}
