// Asks for the service's admin key, for one action.
//
// No session stands for that key, so it is asked for each time. It is in the field alone, and is taken out of it when it is sent:
// no state of this page ever has it, and no browser offers to keep it.

import type { ComponentChildren, JSX } from 'preact';
import { useId, useRef, useState } from 'preact/hooks';

import { inWords, Refusal } from '../../api/errors';
import { FieldInput, Modal, type Field } from '../../ui/dialog';

export function AdminDialog({
  title,
  fields = [],
  word,
  action,
  isDangerous = false,
  run,
  onClose,
  children,
}: {
  title: string;
  fields?: Field[];
  /** What has to be typed first, for what cannot be taken back. */
  word?: string;
  action: string;
  isDangerous?: boolean;
  /** Does it, with the key; what it throws is shown, and the person may try again. */
  run: (adminKey: string, answers: Record<string, string>) => Promise<void>;
  onClose: () => void;
  children?: ComponentChildren;
}): JSX.Element {
  const id = useId();
  const key = useRef<HTMLInputElement>(null);
  const [answers, setAnswers] = useState(() => Object.fromEntries(fields.map((field) => [field.name, field.value ?? ''])));
  const [typed, setTyped] = useState('');
  const [fault, setFault] = useState<string | null>(null);
  const [isRunning, setRunning] = useState(false);
  const isConfirmed = word === undefined || typed.trim() === word;

  const submit = async (submission: Event): Promise<void> => {
    submission.preventDefault();
    const field = key.current;
    if (field === null || !isConfirmed || isRunning) return;
    setRunning(true);
    setFault(null);
    try {
      const running = run(field.value.trim(), answers);
      field.value = '';
      await running;
      onClose();
    } catch (error) {
      setFault(error instanceof Refusal && error.status === 401 ? 'This is not the admin key of the service.' : inWords(error));
      setRunning(false);
      field.focus();
    }
  };
  return (
    <Modal title={title} onClose={onClose}>
      <form onSubmit={(submission) => void submit(submission)}>
        {children !== undefined && <div class="dialog-body">{children}</div>}
        {fields.map((field) => (
          <FieldInput
            key={field.name}
            field={field}
            value={answers[field.name] ?? ''}
            onValue={(value) => setAnswers({ ...answers, [field.name]: value })}
          />
        ))}
        {word !== undefined && (
          <div class="field">
            <label for={`${id}-word`}>
              Type <strong>{word}</strong> to confirm
            </label>
            <input
              id={`${id}-word`}
              autocomplete="off"
              spellcheck={false}
              value={typed}
              onInput={(input) => setTyped(input.currentTarget.value)}
            />
          </div>
        )}
        <div class="field">
          <label for={`${id}-key`}>Admin key of the service</label>
          <input
            ref={key}
            id={`${id}-key`}
            type="password"
            autocomplete="off"
            required
            spellcheck={false}
            autocapitalize="off"
            aria-describedby={`${id}-hint`}
          />
          <p class="hint" id={`${id}-hint`}>
            HOLDFAST_ADMIN_KEY. It is used for this one action and kept nowhere.
          </p>
        </div>
        {fault !== null && (
          <p class="fault" role="alert">
            {fault}
          </p>
        )}
        <div class="dialog-actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class={isDangerous ? 'danger' : 'primary'} disabled={!isConfirmed || isRunning}>
            {action}
          </button>
        </div>
      </form>
    </Modal>
  );
}
