// Light or dark: as the system is, unless the person chose.

import { effect, signal } from '@preact/signals';

export type Theme = 'system' | 'light' | 'dark';

const KEPT = 'holdfast.theme';
const THEMES: readonly Theme[] = ['system', 'light', 'dark'];

function kept(): Theme {
  const text = localStorage.getItem(KEPT);
  return THEMES.find((theme) => theme === text) ?? 'system';
}

export const theme = signal<Theme>(kept());

effect(() => {
  document.documentElement.dataset.theme = theme.value;
  if (theme.value === 'system') localStorage.removeItem(KEPT);
  else localStorage.setItem(KEPT, theme.value);
});

export function nextTheme(): void {
  theme.value = THEMES[(THEMES.indexOf(theme.value) + 1) % THEMES.length] ?? 'system';
}

const darkSystem = matchMedia('(prefers-color-scheme: dark)');
const systemIsDark = signal(darkSystem.matches);
darkSystem.addEventListener('change', (change) => (systemIsDark.value = change.matches));

/** Whether the page is dark now: for what draws by itself, as a chart does. */
export function isDark(): boolean {
  return theme.value === 'dark' || (theme.value === 'system' && systemIsDark.value);
}

const narrowPage = matchMedia('(max-width: 720px)');
/** Whether the page is as narrow as a phone's: tables become cards. */
export const isNarrow = signal(narrowPage.matches);
narrowPage.addEventListener('change', (change) => (isNarrow.value = change.matches));
