// A panel beside a list with all that is known of one of its rows. The list stays in reach.

import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef } from 'preact/hooks';

export function Drawer({ title, kind, onClose, children }: {
  title: string;
  /** What it is: said before the title. */
  kind: string;
  onClose: () => void;
  children: ComponentChildren;
}): JSX.Element {
  const id = useId();
  const panel = useRef<HTMLElement>(null);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    heading.current?.focus();
    return () => {
      // Where the focus is elsewhere already, the person put it there.
      const isLost = document.activeElement === document.body || panel.current?.contains(document.activeElement);
      if (isLost && before instanceof HTMLElement && before.isConnected) before.focus();
    };
  }, [title]);
  useEffect(() => {
    const onKey = (press: KeyboardEvent): void => {
      if (press.key !== 'Escape' || press.defaultPrevented || document.querySelector('dialog[open]')) return;
      press.preventDefault();
      onClose();
    };
    document.addEventListener('keydown', onKey);
    return () => document.removeEventListener('keydown', onKey);
  }, [onClose]);
  return (
    <aside ref={panel} class="drawer" aria-labelledby={id}>
      <div class="drawer-head">
        <div>
          <p class="kind">{kind}</p>
          <h2 id={id} ref={heading} tabIndex={-1} class="name">{title}</h2>
        </div>
        <button type="button" class="icon-button" aria-label="Close" onClick={onClose}>×</button>
      </div>
      <div class="drawer-body">{children}</div>
    </aside>
  );
}
