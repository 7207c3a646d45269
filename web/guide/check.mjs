// Checks the built guide: every link and anchor within the service leads somewhere, no page has an inline script, and
// nothing is loaded from elsewhere. VitePress checks links between pages by itself, but no anchors.
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

const BASE = "/guide/";
// What the binary serves beside the guide.
const OWN = new Set(["/", "/docs", "/openapi.json", "/favicon.ico"]);

const folder = new URL("../dist/guide", import.meta.url).pathname;
const pages = new Map();
for (const name of await readdir(folder, { recursive: true })) {
  if (name.endsWith(".html")) pages.set(name, await readFile(join(folder, name), "utf8"));
}
const files = new Set(await readdir(folder, { recursive: true }));

const decode = (text) => text.replace(/&amp;/g, "&").replace(/&quot;/g, '"').replace(/&#39;/g, "'");
const anchors = new Map();
for (const [name, html] of pages) {
  anchors.set(name, new Set([...html.matchAll(/\sid="([^"]*)"/g)].map((match) => decode(match[1]))));
}

/** The page that a path below /guide/ is answered with, as `Site::serve` finds it. */
const pageOf = (path) => [path, `${path}.html`, `${path.replace(/\/$/, "")}/index.html`, `${path}index.html`].find((name) => pages.has(name));

const faults = [];
const external = new Set();
let checked = 0;
for (const [name, html] of pages) {
  const from = new URL(name.replace(/(^|\/)index\.html$/, "$1").replace(/\.html$/, ""), `http://service${BASE}`);
  for (const [, , text] of html.matchAll(/<(a|link|script|img)\b[^>]*?\s(?:href|src)="([^"]*)"/g)) {
    const to = new URL(decode(text), from);
    if (to.host !== "service") {
      external.add(to.href);
      continue;
    }
    checked += 1;
    if (OWN.has(to.pathname)) continue;
    const path = decodeURIComponent(to.pathname);
    if (!path.startsWith(BASE)) {
      faults.push(`${name}: ${text} is nothing that the service serves`);
      continue;
    }
    const below = path.slice(BASE.length);
    const page = pageOf(below);
    if (!page && !files.has(below)) faults.push(`${name}: ${text} leads nowhere`);
    const anchor = decodeURIComponent(to.hash.slice(1));
    if (page && anchor && !anchors.get(page).has(anchor)) faults.push(`${name}: ${text} names no heading of its page`);
  }
  if (/<script(?![^>]*\ssrc=)[^>]*>/.test(html)) faults.push(`${name} has an inline script`);
  for (const [tag] of html.matchAll(/<(?:script|link|img|iframe)\b[^>]*\s(?:src|href)="(?:https?:)?\/\/[^>]*>/g)) {
    faults.push(`${name} loads from elsewhere: ${tag}`);
  }
}
// The sidebar stands in every page but the first.
const [sidebar] = pages.get("quick-start.html").match(/<aside class="VPSidebar".*?<\/aside>/s) ?? [""];
for (const name of pages.keys()) {
  const path = `${BASE}${name.replace(/(index)?\.html$/, "")}`;
  if (!["index.html", "404.html"].includes(name) && !sidebar.includes(`href="${path}"`)) faults.push(`${name} is in no sidebar`);
}
if (pages.size < 20) faults.push(`only ${pages.size} pages in ${folder}`);
for (const fault of faults) console.error(fault);
console.log(`${pages.size} pages, ${checked} links within the service, ${external.size} to elsewhere, ${faults.length} faults`);
process.exitCode = faults.length ? 1 : 0;
