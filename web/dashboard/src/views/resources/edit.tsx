// Registering, changing and forgetting a resource.

import { setParameters } from '../../app/router';
import { call, pathPart } from '../../api/client';
import type { Resource, ResourceDefinition } from '../../api/types';
import { ask } from '../../ui/dialog';
import { tell } from '../../ui/toasts';
import { readAll } from './registered';

const MAX_CAPACITY = 100_000;

export async function sendDefinitions(definitions: ResourceDefinition[]): Promise<void> {
  await call('POST', '/api/v1/Resource/register', { body: definitions });
}

/** @param present null: a new one */
export async function register(present: Resource | null): Promise<void> {
  const answers = await ask({
    title: present === null ? 'Register a resource' : `Change ${present.name}`,
    fields: [
      ...(present === null ? [{ name: 'name', label: 'Name', isRequired: true }] : []),
      {
        name: 'capacity', label: 'Capacity', kind: 'number' as const, value: String(present?.capacity ?? 1),
        hint: `How many may hold it at once, up to ${MAX_CAPACITY.toLocaleString()}. More than 1 makes it a pool.`,
      },
      {
        name: 'treePath', label: 'Stands under', value: present?.treePath ?? '',
        hint: 'The names above it, from the top: Equipment>IT. Held, it refuses what stands above and below it.',
      },
      {
        name: 'blocks', label: 'Takes with it', kind: 'textarea' as const, value: (present?.blocks ?? []).join('\n'),
        hint: 'Names that are taken along with it, one on each line.',
      },
    ],
    action: present === null ? 'Register' : 'Change',
    run: async (given) => {
      await sendDefinitions([{
        name: present?.name ?? given.name ?? '',
        capacity: Number(given.capacity || 1),
        blocks: (given.blocks ?? '').split('\n').map((line) => line.trim()).filter((line) => line !== ''),
        ...(given.treePath?.trim() && { treePath: given.treePath.trim() }),
      }]);
    },
  });
  if (answers === null) return;
  tell(present === null ? `${answers.name ?? ''} is registered.` : `${present.name} is changed.`);
  await readAll();
}

export async function forget(resource: Resource): Promise<void> {
  const answers = await ask({
    title: `Forget ${resource.name}?`,
    body: <p>Its definition is deleted. That is refused while it is held, has something below it, or is taken along with something else.</p>,
    ...(resource.capacity > 1 && { word: resource.name }),
    action: 'Forget',
    isDangerous: true,
    run: async () => { await call('DELETE', `/api/v1/Resource/${pathPart(resource.name)}`); },
  });
  if (answers === null) return;
  tell(`${resource.name} is forgotten.`);
  setParameters({ row: null });
  await readAll();
}
