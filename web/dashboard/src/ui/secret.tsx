// Something secret that the server tells once: to be copied now. Nothing keeps it when the dialog is closed.

import type { ComponentChildren, JSX } from 'preact';
import { useId, useRef, useState } from 'preact/hooks';

import { Modal } from './dialog';

export function SecretDialog({
  title,
  what,
  text,
  onClose,
  children,
}: {
  title: string;
  /** What it is: `API key`. */
  what: string;
  text: string;
  onClose: () => void;
  children?: ComponentChildren;
}): JSX.Element {
  return (
    <Modal title={title} onClose={onClose}>
      <div class="dialog-body">
        <Secret what={what} text={text} />
        {children}
        <div class="dialog-actions">
          <button type="button" class="primary" onClick={onClose}>
            Done
          </button>
        </div>
      </div>
    </Modal>
  );
}

export function Secret({ what, text }: { what: string; text: string }): JSX.Element {
  const id = useId();
  const field = useRef<HTMLInputElement>(null);
  const [said, setSaid] = useState('');
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setSaid('Copied.');
    } catch {
      // No clipboard without https, and a person may refuse it.
      field.current?.focus();
      field.current?.select();
      setSaid('It is selected: press Ctrl+C, or ⌘C, to copy it.');
    }
  };
  return (
    <div class="field">
      <label for={id}>{what}</label>
      <div class="field-row">
        <input
          ref={field}
          id={id}
          class="secret"
          readOnly
          value={text}
          spellcheck={false}
          autocomplete="off"
          aria-describedby={`${id}-hint`}
          onFocus={(focus) => focus.currentTarget.select()}
        />
        <button type="button" onClick={() => void copy()}>
          Copy
        </button>
      </div>
      <p class="hint" id={`${id}-hint`}>
        It is shown this once: only its hash is stored, so nobody can show it again.
      </p>
      <p role="status">{said}</p>
    </div>
  );
}
