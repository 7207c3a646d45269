// How much of a resource is taken, as a picture and in words.

import type { JSX } from 'preact';

import type { Resource } from '../../api/types';
import { count } from '../../ui/format';
import { Badge } from '../../ui/parts';
import { takenOf, type Use } from './registered';

const MOST_CELLS = 24; // more would be too thin to tell apart

export function UseBar({ resource, use }: { resource: Resource; use: Use }): JSX.Element {
  if (resource.capacity === 1) return <Badge tone={TONES[use]}>{WORDS[use]}</Badge>;
  const taken = takenOf(resource).length;
  return (
    <span class="use">
      {resource.capacity <= MOST_CELLS
        ? <span class="cells" aria-hidden="true">{Array.from({ length: resource.capacity }, (_, at) => <i key={at} data-taken={at < taken} />)}</span>
        : <span class="fill" aria-hidden="true"><i style={{ width: `${Math.min(100, (100 * taken) / resource.capacity)}%` }} /></span>}
      <span class="number">{count(taken)} of {count(resource.capacity)}</span>
    </span>
  );
}

const WORDS: Record<Use, string> = { free: 'free', part: 'in use', full: 'held', above: 'held above', below: 'held below' };
const TONES: Record<Use, 'good' | 'warn' | 'calm'> = { free: 'good', part: 'calm', full: 'warn', above: 'calm', below: 'calm' };
