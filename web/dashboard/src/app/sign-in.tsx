// Asks for a key once. From then on a cookie stands for it, which no script can read.

import type { JSX } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';

import { inWords } from '../api/errors';
import { signedOutBecause, signIn } from '../api/session';
import { Command } from '../ui/parts';

const MAKE_A_KEY = `holdfast tenant create my-team --tier Pro
holdfast key create <tenant id> dashboard --scopes read,write,admin`;

export function SignIn(): JSX.Element {
  const field = useRef<HTMLInputElement>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [isRunning, setRunning] = useState(false);
  useEffect(() => field.current?.focus(), []);

  const submit = async (submission: Event): Promise<void> => {
    submission.preventDefault();
    const key = field.current?.value.trim() ?? '';
    if (key === '') {
      setFault('Paste an API key, as in hf_live_…');
      return;
    }
    setRunning(true);
    setFault(null);
    try {
      await signIn(key);
    } catch (error) {
      setFault(inWords(error));
      setRunning(false);
      field.current?.select();
    }
  };
  const said = fault ?? signedOutBecause.value;
  return (
    <main class="sign-in-page">
      <section class="card sign-in" aria-labelledby="sign-in-title">
        <img src="/dashboard/icon.svg" alt="" width="40" height="40" />
        <h1 id="sign-in-title">Sign in to Holdfast</h1>
        {/* The field has no name, so that no browser ever puts the key into an address. */}
        <form onSubmit={(submission) => void submit(submission)}>
          <label for="key">API key</label>
          <div class="field-row">
            <input ref={field} id="key" type="password" autocomplete="off" spellcheck={false} autocapitalize="off"
              placeholder="hf_live_…" aria-invalid={fault !== null} aria-describedby="key-hint sign-in-fault" />
            <button type="submit" class="primary" disabled={isRunning}>Sign in</button>
          </div>
          <p id="sign-in-fault" class="fault" role="alert">{said}</p>
          <p id="key-hint" class="hint">This browser stays signed in for eight hours after its last use, until you sign out or the key is
            revoked. The page offers what the key is allowed to do.</p>
        </form>
        <details>
          <summary>No key yet?</summary>
          <p>Whoever runs this service makes one. It is shown once.</p>
          <Command text={MAKE_A_KEY} />
        </details>
        <p class="elsewhere"><a href="/guide/">Guide</a> <a href="/docs">API</a></p>
      </section>
    </main>
  );
}
