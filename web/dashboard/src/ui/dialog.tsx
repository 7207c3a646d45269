// Questions in front of the page. `ask` waits for the answer:
//
//   const answer = await ask({ title: 'Release "printer"?', action: 'Release', fields: [{ name: 'reason', label: 'Reason' }] });
//   if (answer !== null) await release(answer.reason);

import { signal } from '@preact/signals';
import type { ComponentChildren, JSX } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';

import { inWords } from '../api/errors';

export interface Field {
  name: string;
  label: string;
  hint?: string;
  value?: string;
  kind?: 'text' | 'number' | 'textarea' | 'password';
  isRequired?: boolean;
  choices?: { value: string; label: string }[];
}

export interface Question {
  title: string;
  body?: ComponentChildren;
  fields?: Field[];
  /** What has to be typed before the action can be chosen: for what cannot be taken back. */
  word?: string;
  /** The button that does it. */
  action: string;
  isDangerous?: boolean;
  /** Does it while the dialog is open; what it throws is shown there, and the person may try again. */
  run?: (answers: Record<string, string>) => Promise<void>;
}

interface Open extends Question {
  answer: (answers: Record<string, string> | null) => void;
}

const open = signal<Open | null>(null);

/** @returns what was filled in, by the fields' names; null: the person thought better of it */
export function ask(question: Question): Promise<Record<string, string> | null> {
  open.value?.answer(null);
  return new Promise((resolve) => {
    open.value = { ...question, answer: (answers) => { open.value = null; resolve(answers); } };
  });
}

export function Dialogs(): JSX.Element | null {
  return open.value === null ? null : <QuestionDialog key={open.value.title} question={open.value} />;
}

function QuestionDialog({ question }: { question: Open }): JSX.Element {
  const [answers, setAnswers] = useState(() => startOf(question));
  const [typed, setTyped] = useState('');
  const [fault, setFault] = useState<string | null>(null);
  const [isRunning, setRunning] = useState(false);
  const id = useId();
  const isConfirmed = question.word === undefined || typed.trim() === question.word;

  const submit = async (submission: Event): Promise<void> => {
    submission.preventDefault();
    if (!isConfirmed || isRunning) return;
    setRunning(true);
    setFault(null);
    try {
      await question.run?.(answers);
      question.answer(answers);
    } catch (error) {
      setFault(inWords(error));
      setRunning(false);
    }
  };
  return (
    <Modal title={question.title} onClose={() => question.answer(null)}>
      <form onSubmit={(submission) => void submit(submission)}>
        {question.body !== undefined && <div class="dialog-body">{question.body}</div>}
        {question.fields?.map((field) => (
          <FieldInput key={field.name} field={field} value={answers[field.name] ?? ''}
            onValue={(value) => setAnswers({ ...answers, [field.name]: value })} />
        ))}
        {question.word !== undefined && (
          <div class="field">
            <label for={`${id}-word`}>Type <strong>{question.word}</strong> to confirm</label>
            <input id={`${id}-word`} autocomplete="off" spellcheck={false} value={typed}
              onInput={(input) => setTyped(input.currentTarget.value)} />
          </div>
        )}
        {fault !== null && <p class="fault" role="alert">{fault}</p>}
        <div class="dialog-actions">
          <button type="button" onClick={() => question.answer(null)}>Cancel</button>
          <button type="submit" class={question.isDangerous ? 'danger' : 'primary'} disabled={!isConfirmed || isRunning}>
            {question.action}
          </button>
        </div>
      </form>
    </Modal>
  );
}

function startOf(question: Question): Record<string, string> {
  return Object.fromEntries((question.fields ?? []).map((field) => [field.name, field.value ?? '']));
}

export function FieldInput({ field, value, onValue }: { field: Field; value: string; onValue: (value: string) => void }): JSX.Element {
  const id = useId();
  const common = {
    id, value, required: field.isRequired ?? false, autocomplete: 'off', spellcheck: false,
    'aria-describedby': field.hint ? `${id}-hint` : undefined,
    onInput: (input: { currentTarget: HTMLInputElement | HTMLTextAreaElement | HTMLSelectElement }) => onValue(input.currentTarget.value),
  };
  return (
    <div class="field">
      <label for={id}>{field.label}</label>
      {field.choices
        ? <select {...common}>{field.choices.map((choice) => <option key={choice.value} value={choice.value}>{choice.label}</option>)}</select>
        : field.kind === 'textarea' ? <textarea rows={6} {...common} />
          : field.kind === 'number' ? <input type="number" {...common} />
            : field.kind === 'password' ? <input type="password" {...common} /> : <input type="text" {...common} />}
      {field.hint && <p class="hint" id={`${id}-hint`}>{field.hint}</p>}
    </div>
  );
}

/** A dialog of any content. The browser keeps the focus within, and gives it back. */
export function Modal({ title, onClose, children, isWide }: {
  title: string; onClose: () => void; children: ComponentChildren; isWide?: boolean;
}): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const element = dialog.current;
    const before = document.activeElement;
    element?.showModal();
    element?.querySelector<HTMLElement>('input, textarea, select')?.focus();
    return () => {
      element?.close();
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog ref={dialog} class={isWide ? 'wide' : ''} aria-labelledby={id}
      onCancel={(cancel) => { cancel.preventDefault(); onClose(); }}
      onClick={(click) => { if (click.target === dialog.current) onClose(); }}>
      <div class="dialog-frame">
        <div class="dialog-head">
          <h2 id={id}>{title}</h2>
          <button type="button" class="icon-button" aria-label="Close" onClick={onClose}>×</button>
        </div>
        {children}
      </div>
    </dialog>
  );
}
