// Commands to copy: what to type when there is nothing to see yet.
//
// They name the key by a variable. A command line ends up in histories and screenshots, the key must not.

const COMMANDS = {
  tenant: () => `curl -X POST ${location.origin}/api/v1/admin/tenants \\
  -H "X-Admin-Key: $HOLDFAST_ADMIN_KEY" \\
  -H 'Content-Type: application/json' \\
  -d '{"name":"my-team","tier":"Starter"}'`,
  reserve: () => `curl -X POST ${location.origin}/api/v1/Reservation/reserve \\
  -H "X-Api-Key: $HOLDFAST_KEY" \\
  -H 'Content-Type: application/json' \\
  -d '[{"requester":"me","resource":"demo","ttlSeconds":60}]'`,
  watch: () => `curl -N ${location.origin}/api/v1/events \\
  -H "X-Api-Key: $HOLDFAST_KEY"`,
};
const SHOWN_AS_COPIED_MS = 2_000;

/** Fills every `data-command` place of the page. */
export function fillCommands() {
  for (const place of document.querySelectorAll('[data-command]')) {
    const code = document.createElement('code');
    code.textContent = COMMANDS[place.dataset.command]();
    const text = document.createElement('pre');
    text.tabIndex = 0; // it may scroll sideways, so the keyboard must reach it
    text.append(code);
    const button = document.createElement('button');
    button.type = 'button';
    button.textContent = 'Copy';
    button.addEventListener('click', () => copy(code, button));
    place.append(text, button);
  }
}

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = 'Copied';
    setTimeout(() => (button.textContent = 'Copy'), SHOWN_AS_COPIED_MS);
  } catch {
    // No clipboard without https, and a person may refuse it: select the text, so that one key copies it.
    getSelection().selectAllChildren(code);
  }
}
