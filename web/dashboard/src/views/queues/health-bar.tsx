// How many jobs ended well and badly in each part of a time: bars whose heights are set by the object model.

import type { JSX } from 'preact';
import { useLayoutEffect, useRef } from 'preact/hooks';

import type { Shape } from '../../api/types';
import { count, plural } from '../../ui/format';

export function HealthBar({ buckets, isLarge = false }: { buckets: Shape<'TimeBucket'>[]; isLarge?: boolean }): JSX.Element {
  const bars = useRef<HTMLSpanElement>(null);
  const most = Math.max(1, ...buckets.map((bucket) => bucket.succeeded + bucket.failed));
  const [succeeded, failed] = buckets.reduce(([good, bad], bucket) => [good + bucket.succeeded, bad + bucket.failed], [0, 0]);
  useLayoutEffect(() => {
    const elements = bars.current?.children ?? [];
    buckets.forEach((bucket, at) => {
      const element = elements[at];
      if (!(element instanceof HTMLElement)) return;
      element.style.setProperty('--good-share', String(bucket.succeeded / most));
      element.style.setProperty('--bad-share', String(bucket.failed / most));
    });
  });
  return (
    <span
      ref={bars}
      class="health-bar"
      data-large={isLarge}
      role="img"
      aria-label={`${plural(succeeded, 'job')} completed, ${count(failed)} failed`}>
      {buckets.map((bucket) => (
        <span
          key={bucket.start}
          title={`${time(bucket.start)}–${time(bucket.end)}: ${count(bucket.succeeded)} completed, ${count(bucket.failed)} failed`}>
          <i class="bad" />
          <i class="good" />
        </span>
      ))}
    </span>
  );
}

const clock = new Intl.DateTimeFormat(undefined, { weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });

function time(iso: string): string {
  return clock.format(new Date(iso));
}
