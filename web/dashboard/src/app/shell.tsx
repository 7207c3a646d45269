// The frame around every view: where one is, how true it is, and who is signed in.

import { computed, effect } from '@preact/signals';
import type { ComponentType, JSX } from 'preact';
import { useEffect, useErrorBoundary, useRef, useState } from 'preact/hooks';

import { inWords } from '../api/errors';
import { may, session, signOut } from '../api/session';
import { truth } from '../live/truth';
import { Dialogs, Modal } from '../ui/dialog';
import { Empty } from '../ui/parts';
import { focusTable } from '../ui/table';
import { tellFault, Toasts } from '../ui/toasts';
import { addShortcut, allShortcuts, isHelpOpen, shortcutsVersion } from './keyboard';
import { go, hrefOf, place } from './router';
import { SignIn } from './sign-in';
import { nextTheme, theme } from './theme';
import { FIRST_VIEW, VIEWS, type View } from './views';

const currentView = computed<View | undefined>(() => VIEWS.find((view) => view.path === (place.value.view || FIRST_VIEW)));

effect(() => {
  const name = session.value === null ? 'Sign in' : (currentView.value?.title ?? 'Not found');
  document.title = `${name} · Holdfast`;
});

for (const view of VIEWS) addShortcut({ keys: `g ${view.key}`, what: `Go to ${view.title}`, run: () => go(view.path) });
addShortcut({ keys: '?', what: 'Show these keys', run: () => (isHelpOpen.value = true) });
addShortcut({ keys: 't', what: 'Into the table: then arrows or j and k, Enter opens a row', run: focusTable });
addShortcut({ keys: '/', what: 'Search', run: () => document.querySelector<HTMLInputElement>('main input[type="search"]')?.focus() });

export function App(): JSX.Element {
  if (session.value === undefined) return <Splash />;
  if (session.value === null) return <><SignIn /><Toasts /></>;
  return (
    <>
      <a class="skip" href="#main" onClick={(click) => { click.preventDefault(); document.getElementById('main')?.focus(); }}>
        Skip to content
      </a>
      <Header />
      <main id="main" tabIndex={-1}>
        <Notice />
        <Outlet />
      </main>
      <Toasts />
      <Dialogs />
      {isHelpOpen.value && <Help />}
    </>
  );
}

/** Before the first answer. A slow or dead server is told, not waited for in silence. */
function Splash(): JSX.Element {
  const state = truth.value;
  return (
    <main class="splash">
      <img src="/dashboard/icon.svg" alt="" width="40" height="40" />
      <h1>Holdfast</h1>
      <p role="status">{state.notice ?? 'Connecting…'}</p>
    </main>
  );
}

function Header(): JSX.Element {
  return (
    <header class="bar">
      <a class="brand" href={hrefOf(FIRST_VIEW)} aria-label="Holdfast, reservations">
        <img src="/dashboard/icon.svg" alt="" width="26" height="26" /><span>Holdfast</span>
      </a>
      <p class="truth" role="status" data-state={truth.value.state} id="truth">{truth.value.label}</p>
      <Views />
      <Tools />
    </header>
  );
}

/** Where there is no room for all, what is current is in sight: there it alone says where one is. */
function Views(): JSX.Element {
  const views = useRef<HTMLElement>(null);
  const current = currentView.value;
  useEffect(() => {
    views.current?.querySelector('[aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  }, [current]);
  return (
    <nav ref={views} class="views" aria-label="Views">
      {VIEWS.filter((view) => may(view.scope)).map((view) => (
        <a key={view.path} href={hrefOf(view.path)} aria-current={current === view ? 'page' : undefined}>{view.title}</a>
      ))}
    </nav>
  );
}

const THEME_WORDS = { system: 'as the system', light: 'light', dark: 'dark' };
const THEME_SIGNS = { system: '◐', light: '☀', dark: '☾' };

function Tools(): JSX.Element {
  const current = session.value;
  const leave = (): void => void signOut().catch(tellFault);
  return (
    <div class="tools">
      <span class="who" title={current?.scopes.join(', ')}>{current?.name} <small>{current?.tier}</small></span>
      <a href="/guide/">Guide</a>
      <a href="/docs">API</a>
      <button type="button" class="icon-button" aria-label={`Colours: ${THEME_WORDS[theme.value]}`} title={`Colours: ${THEME_WORDS[theme.value]}`}
        onClick={nextTheme}>{THEME_SIGNS[theme.value]}</button>
      <button type="button" class="icon-button" aria-label="Keys" title="Keys (?)" onClick={() => (isHelpOpen.value = true)}>?</button>
      <button type="button" class="small" onClick={leave}>Sign out</button>
    </div>
  );
}

/** What is not well. The countdown in it is no news for a screen reader: the state beside the name is. */
function Notice(): JSX.Element | null {
  const { notice, state } = truth.value;
  return notice === null ? null : <p class="notice" data-state={state}>{notice}</p>;
}

function Outlet(): JSX.Element {
  const view = currentView.value;
  const [fault, forget] = useErrorBoundary();
  useEffect(() => { if (fault !== undefined) forget(); }, [view]);
  if (view === undefined) {
    return <Empty title="There is no such view."><p><a href={hrefOf(FIRST_VIEW)}>Reservations</a></p></Empty>;
  }
  if (!may(view.scope)) return <Empty title="The key that you signed in with may not see this." />;
  if (fault !== undefined) return <Empty title="This view has a fault."><p class="fault">{inWords(fault)}</p></Empty>;
  return <Loaded key={view.path} view={view} />;
}

const loaded = new Map<View, ComponentType>();

function Loaded({ view }: { view: View }): JSX.Element {
  const [fault, setFault] = useState<unknown>(null);
  const [, redraw] = useState(0);
  const isShown = useRef(true);
  useEffect(() => {
    isShown.current = true;
    if (!loaded.has(view)) {
      view.load().then(
        (module) => {
          loaded.set(view, module.default);
          if (isShown.current) redraw((n) => n + 1);
        },
        setFault,
      );
    }
    return () => { isShown.current = false; };
  }, [view]);
  const Shown = loaded.get(view);
  if (fault !== null) {
    return (
      <Empty title="This view could not be loaded.">
        <p>The server was updated or cannot be reached. <button type="button" onClick={() => location.reload()}>Reload the page</button></p>
      </Empty>
    );
  }
  return Shown === undefined ? <p class="loading" role="status">Loading…</p> : <Shown />;
}

function Help(): JSX.Element {
  shortcutsVersion.value; // drawn again when they change
  return (
    <Modal title="Keys" onClose={() => (isHelpOpen.value = false)}>
      <dl class="keys">
        {allShortcuts().map((shortcut) => (
          <div key={shortcut.keys}>
            <dt>{shortcut.keys.split(' ').map((key) => <kbd key={key}>{key}</kbd>)}</dt><dd>{shortcut.what}</dd>
          </div>
        ))}
        <div><dt><kbd>Esc</kbd></dt><dd>Close what is open</dd></div>
      </dl>
    </Modal>
  );
}
