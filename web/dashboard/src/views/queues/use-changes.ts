import { effect } from '@preact/signals';
import { useEffect, useRef } from 'preact/hooks';

import type { LiveConnection } from './live';

/** Calls back when the stream said something that makes the lists worth reading again. */
export function useChanges(live: LiveConnection, onChange: () => void): void {
  const latest = useRef(onChange);
  latest.current = onChange;
  useEffect(() => {
    const seen = live.changes.peek();
    return effect(() => {
      if (live.changes.value !== seen) latest.current();
    });
  }, [live]);
}
