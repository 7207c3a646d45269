// Small parts that many views use.

import { computed } from '@preact/signals';
import type { ComponentChildren, JSX } from 'preact';
import { useMemo, useState } from 'preact/hooks';

import { nowMs } from '../api/clock';
import { age, inFull, moment, span } from './format';

export type Tone = 'good' | 'warn' | 'bad' | 'calm' | 'plain';

export function Badge({ tone, children }: { tone: Tone; children: ComponentChildren }): JSX.Element {
  return <span class="badge" data-tone={tone}>{children}</span>;
}

const day = computed(() => Math.floor(nowMs.value / 86_400_000));

/** A point in time: the clock today, else the day; all of it when pointed at. */
export function Moment({ iso }: { iso: string | null | undefined }): JSX.Element {
  if (!iso) return <span class="quiet">—</span>;
  return <time dateTime={iso} title={inFull(iso)} data-day={day.value}>{moment(iso, nowMs.peek())}</time>;
}

const SOON_MS = 10_000;

/** How long until something ends, counting down. Its end is told by the server, not guessed here. */
export function Countdown({ iso, never = 'no end' }: { iso: string | null | undefined; never?: string }): JSX.Element {
  const at = iso ? Date.parse(iso) : Number.NaN;
  // Signals as children and attributes: a tick changes one text of the page and renders nothing.
  const words = useMemo(() => computed(() => (at > nowMs.value ? span(at - nowMs.value) : 'ending…')), [at]);
  const isSoon = useMemo(() => computed(() => at - nowMs.value <= SOON_MS), [at]);
  if (!iso) return <span class="quiet">{never}</span>;
  return <time class="countdown" dateTime={iso} title={inFull(iso)} data-soon={isSoon}>{words}</time>;
}

/** How long ago, counting up. */
export function Age({ iso }: { iso: string | null | undefined }): JSX.Element {
  const at = iso ? Date.parse(iso) : Number.NaN;
  const words = useMemo(() => computed(() => age(nowMs.value - at)), [at]);
  if (!iso) return <span class="quiet">—</span>;
  return <time class="number" dateTime={iso} title={inFull(iso)}>{words}</time>;
}

/** Other people's text: any length, any direction. One line of it, and the rest when pointed at. */
export function Name({ text }: { text: string | null | undefined }): JSX.Element {
  if (!text) return <span class="quiet">—</span>;
  return <span class="one-line" title={text}>{text}</span>;
}

export function Facts({ children }: { children: ComponentChildren }): JSX.Element {
  return <dl class="facts">{children}</dl>;
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }): JSX.Element {
  return <div><dt>{name}</dt><dd>{children}</dd></div>;
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return <div class="empty"><p><strong>{title}</strong></p>{children}</div>;
}

const SHOWN_AS_COPIED_MS = 2_000;

/** A command line to copy. It names the key by a variable: command lines end up in histories and screenshots. */
export function Command({ text }: { text: string }): JSX.Element {
  return (
    <div class="command">
      <pre tabIndex={0} aria-label="Command"><code>{text}</code></pre>
      <CopyButton text={text} what="the command" />
    </div>
  );
}

export function CopyButton({ text, what }: { text: string; what: string }): JSX.Element {
  const [isCopied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setCopied(true);
      setTimeout(() => setCopied(false), SHOWN_AS_COPIED_MS);
    } catch {
      // No clipboard without https, and a person may refuse it: what is to be copied stands beside the button.
    }
  };
  return <button type="button" class="small" aria-label={`Copy ${what}`} onClick={() => void copy()}>{isCopied ? 'Copied' : 'Copy'}</button>;
}

/** Words for screen readers alone. */
export function Unseen({ children }: { children: ComponentChildren }): JSX.Element {
  return <span class="unseen">{children}</span>;
}
