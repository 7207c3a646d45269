// Numbers above a list.

import type { ComponentChildren, JSX } from 'preact';

import type { Tone } from '../../ui/parts';

export function Figures({ label, children }: { label: string; children: ComponentChildren }): JSX.Element {
  return (
    <dl class="figures" aria-label={label}>
      {children}
    </dl>
  );
}

export function Figure({
  name,
  tone,
  id,
  children,
}: {
  name: string;
  tone?: Tone;
  id?: string;
  children: ComponentChildren;
}): JSX.Element {
  return (
    <div>
      <dt>{name}</dt>
      <dd data-tone={tone} id={id}>
        {children}
      </dd>
    </div>
  );
}
