// A file of definitions against what is registered: what it would change, before it does.

import { signal } from '@preact/signals';
import type { JSX } from 'preact';
import { useId, useState } from 'preact/hooks';

import { may } from '../../api/session';
import { inWords } from '../../api/errors';
import { count, plural } from '../../ui/format';
import { Modal } from '../../ui/dialog';
import { tell } from '../../ui/toasts';
import { sendDefinitions } from './edit';
import { readAll, registered } from './registered';
import { differences, planOf, readDefinitions, toSend, type Definition, type Plan } from './plan';

export const isPlanOpen = signal(false);

const BATCH = 1_000; // definitions of one call
const EXAMPLE = `[[resource]]
name = "gpu"
capacity = 4

[[resource]]
name = "press"
blocks = ["hall-light"]
treePath = "plant>hall"`;

export function PlanDialog(): JSX.Element {
  const id = useId();
  const [text, setText] = useState('');
  const [fault, setFault] = useState<string | null>(null);
  const [isSending, setSending] = useState(false);
  const { plan, wrong } = planned(text);
  const close = (): void => { isPlanOpen.value = false; };

  const send = async (): Promise<void> => {
    if (plan === null) return;
    const definitions = toSend(plan);
    setSending(true);
    setFault(null);
    try {
      for (let at = 0; at < definitions.length; at += BATCH) await sendDefinitions(definitions.slice(at, at + BATCH));
      tell(`${plural(definitions.length, 'definition')} registered.`);
      await readAll();
      close();
    } catch (error) {
      setFault(inWords(error));
      setSending(false);
    }
  };
  const changes = plan === null ? 0 : plan.created.length + plan.changed.length;
  return (
    <Modal title="Plan a file" onClose={close} isWide>
      <div class="plan">
        <div class="field">
          <label for={`${id}-text`}>Definitions, as TOML or JSON</label>
          <textarea id={`${id}-text`} rows={9} spellcheck={false} placeholder={EXAMPLE} value={text}
            onInput={(input) => setText(input.currentTarget.value)} />
          <label for={`${id}-file`} class="hint">or a file</label>
          <input id={`${id}-file`} type="file" accept=".toml,.json" onChange={(change) => {
            void change.currentTarget.files?.[0]?.text().then(setText);
          }} />
        </div>
        {wrong !== null && <p class="fault" role="alert">{wrong}</p>}
        {plan !== null && <Changes plan={plan} />}
        {fault !== null && <p class="fault" role="alert">{fault}</p>}
        <div class="dialog-actions">
          <button type="button" onClick={close}>Close</button>
          {may('write') && (
            <button type="button" class="primary" disabled={changes === 0 || isSending} onClick={() => void send()}>
              Register {count(changes)}
            </button>
          )}
        </div>
      </div>
    </Modal>
  );
}

function planned(text: string): { plan: Plan | null; wrong: string | null } {
  if (text.trim() === '') return { plan: null, wrong: null };
  try {
    return { plan: planOf(readDefinitions(text), registered.value), wrong: null };
  } catch (error) {
    return { plan: null, wrong: error instanceof Error ? error.message : String(error) };
  }
}

function Changes({ plan }: { plan: Plan }): JSX.Element {
  return (
    <section aria-label="Plan" class="changes">
      <p role="status">
        {count(plan.created.length)} to create, {count(plan.changed.length)} to change, {count(plan.unchanged)} unchanged
        {plan.others.length > 0 && `; ${count(plan.others.length)} others stay as they are`}
      </p>
      <ul>
        {plan.created.map((definition) => <li key={definition.name} data-change="created">+ {inWordsOf(definition)}</li>)}
        {plan.changed.map(({ from, to }) => <li key={to.name} data-change="changed">~ {to.name}: {differences(from, to).join(', ')}</li>)}
      </ul>
    </section>
  );
}

function inWordsOf({ name, capacity, blocks, treePath }: Definition): string {
  const parts = [name];
  if (capacity !== 1) parts.push(`capacity ${capacity}`);
  if (blocks.length > 0) parts.push(`takes ${blocks.join(', ')} with it`);
  if (treePath !== '') parts.push(`under ${treePath}`);
  return parts.join(', ');
}
