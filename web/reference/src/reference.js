// The page around Swagger UI: contents, credential, theme, anchors.
import { fillIn, learn } from "./examples.js";
import { isStream, readForAWhile } from "./streams.js";

/** Security schemes that the dialog leaves out: nobody can type the session's cookie, and the header serves where the query would. */
const LEFT_OUT = ["session", "apiKeyInQuery"];

const spec = await (await fetch("/openapi.json")).json();
// Swagger UI would send the example of a set of words as every filter of that type.
for (const schema of Object.values(spec.components.schemas)) {
  if (schema.enum) delete schema.example;
}
const sections = ["Limits", "The queue monitor", "Errors"];

const onlyUsefulSchemes = () => ({
  statePlugins: {
    auth: {
      wrapSelectors: {
        definitionsToAuthorize: (original) => (...args) =>
          original(...args).filter((definition) => !LEFT_OUT.some((name) => definition.has(name))),
      },
    },
  },
});

// Swagger UI would take any anchor for one of its own, and rewrite it.
const anchor = location.hash.startsWith("#/") ? "" : location.hash;
if (anchor) history.replaceState(null, "", location.pathname);

const ui = SwaggerUIBundle({
  spec,
  domNode: document.getElementById("reference"),
  deepLinking: true,
  docExpansion: "none",
  defaultModelsExpandDepth: 0,
  displayRequestDuration: true,
  tryItOutEnabled: true,
  validatorUrl: null,
  plugins: [onlyUsefulSchemes],
  requestInterceptor: (request) => {
    fillIn(request);
    if (isStream(request)) request.userFetch = readForAWhile;
    return request;
  },
  responseInterceptor: (response) => {
    learn(response, spec, ui);
    return response;
  },
});

// Swagger UI says when it has the document, not when the page shows it.
const shown = new MutationObserver(() => {
  if (!document.querySelector(".info .description h1")) return;
  shown.disconnect();
  nameHeadings();
  if (anchor) history.replaceState(null, "", anchor);
  follow();
});
shown.observe(document.getElementById("reference"), { childList: true, subtree: true });

/** Gives the introduction's headings and the rows of error codes ids, to which `docsUrl` of an error leads. */
function nameHeadings() {
  for (const heading of document.querySelectorAll(".info .description :is(h1, h2)")) {
    heading.id = slug(heading.textContent);
  }
  for (const code of document.querySelectorAll(".info .description td:first-child > code")) {
    code.closest("tr").id = slug(code.textContent);
  }
}

function slug(text) {
  return text.trim().toLowerCase().replaceAll(/[^a-z0-9_]+/g, "-");
}

/** Goes to the anchor of the address. Those of operations (`#/tag/id`) are Swagger UI's own. */
function follow() {
  const id = decodeURIComponent(location.hash.slice(1)).toLowerCase();
  if (id === "" || id.startsWith("/")) return;
  const target = document.getElementById(id);
  target?.setAttribute("tabindex", "-1");
  target?.scrollIntoView();
  target?.focus({ preventScroll: true });
}
addEventListener("hashchange", follow);

function show(tag, operation) {
  ui.layoutActions.show(["operations-tag", tag], true);
  ui.layoutActions.show(["operations", tag, operation], true);
  history.pushState(null, "", `#/${tag}/${operation}`);
  requestAnimationFrame(() => document.getElementById(`operations-${tag}-${operation}`)?.scrollIntoView());
}

function fillContents() {
  const contents = document.getElementById("contents");
  const list = (heading, links) => {
    const part = document.createElement("section");
    part.append(Object.assign(document.createElement("h2"), { textContent: heading }));
    part.append(...links);
    contents.append(part);
  };
  const link = (text, href) => Object.assign(document.createElement("a"), { textContent: text, href });
  list("Introduction", sections.map((section) => link(section, `#${slug(section)}`)));
  for (const { name } of spec.tags) {
    const operations = Object.values(spec.paths).flatMap((item) => Object.values(item)).filter(({ tags }) => tags[0] === name);
    list(name, operations.map(({ operationId, summary }) => {
      const one = link(operationId, `#/${name}/${operationId}`);
      one.title = summary;
      one.addEventListener("click", (event) => {
        event.preventDefault();
        show(name, operationId);
      });
      return one;
    }));
  }
}
fillContents();

/** Says as whom calls are made: by a key that was given here, or by the session of a sign-in. */
async function sayWhoCalls(key) {
  const headers = key ? { "X-Api-Key": key } : {};
  const answer = await fetch("/api/v1/session", { headers });
  const session = answer.ok ? await answer.json() : null;
  const by = key ? "key" : "session";
  const nobody = key ? "This key is not accepted." : "Not signed in.";
  document.getElementById("caller").textContent = session ? `${session.name}, by ${by}` : nobody;
}

document.getElementById("credential").addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = document.getElementById("key").value.trim();
  if (key) ui.preauthorizeApiKey("apiKey", key);
  else ui.authActions.logout(["apiKey"]);
  await sayWhoCalls(key);
});
await sayWhoCalls();

const theme = document.getElementById("theme");
const nameTheme = () => {
  theme.textContent = document.documentElement.classList.contains("dark-mode") ? "Light" : "Dark";
};
theme.addEventListener("click", () => {
  localStorage.setItem("holdfast-theme", theme.textContent.toLowerCase());
  applyTheme();
  nameTheme();
});
nameTheme();
