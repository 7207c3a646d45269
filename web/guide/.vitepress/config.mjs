// The guide: docs/ as a site below /guide/, searchable offline, without inline scripts.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { defineConfig } from "vitepress";

import { blocks } from "./blocks.mjs";
import { scriptsInFiles } from "./scripts.mjs";
import { ownPages } from "./links.mjs";

const scripts = scriptsInFiles("/guide/");

const here = fileURLToPath(import.meta.url);
const vueOfThisFolder = {
  name: "vue-of-this-folder",
  enforce: "pre",
  resolveId(id, importer) {
    return importer?.endsWith(".md") && /^vue(\/|$)/.test(id) ? this.resolve(id, here, { skipSelf: true }) : null;
  },
};

const docs = new URL("../../../docs/", import.meta.url);
const isThere = (link) => link.endsWith("/") || existsSync(new URL(`.${link}.md`, docs));

export default defineConfig({
  srcDir: "../../docs",
  outDir: "../dist/guide",
  base: "/guide/",
  cleanUrls: true,
  lang: "en",
  title: "Holdfast",
  description: "Locks, pools and queues over HTTP, with fencing tokens, on your own Redis",
  head: [["link", { rel: "icon", type: "image/svg+xml", href: "/favicon.ico" }]],
  // About the code, for those who change it; it links into the repository.
  srcExclude: ["performance.md"],
  rewrites: { "recipes/README.md": "recipes/index.md" },
  // Facts about the pages go to files of their own instead of into each page.
  metaChunk: true,
  transformHtml(page) {
    // The start page is the only one without a landmark for its content.
    return scripts.transformHtml(page).replace('<div class="VPContent is-home"', '$& role="main"');
  },
  buildEnd: scripts.buildEnd,
  // The pages stand outside this folder, so their imports would not be found from where they are.
  vite: { plugins: [vueOfThisFolder] },
  markdown: {
    theme: { light: "github-light-high-contrast", dark: "github-dark-high-contrast" },
    config(md) {
      md.use(blocks);
      md.use(ownPages);
    },
  },
  themeConfig: {
    siteTitle: "Holdfast",
    search: { provider: "local" },
    outline: { level: [2, 3] },
    externalLinkIcon: true,
    notFound: { title: "No such page", quote: "The search in the head of the page may know where it is.", linkText: "To the start" },
    nav: [
      { text: "Guide", link: "/quick-start", activeMatch: "^/(?!recipes|clients|command-line|mcp|api)." },
      { text: "Recipes", link: "/recipes/", activeMatch: "^/recipes/" },
      { text: "Clients", link: "/command-line", activeMatch: "^/(command-line|mcp|api|clients/)" },
      { component: "OwnPage", props: { text: "API", href: "/docs" } },
      { component: "OwnPage", props: { text: "Dashboard", href: "/" } },
    ],
    // Pages that are not there are left out; check.mjs finds those that are in no entry.
    sidebar: [
      {
        text: "Begin",
        items: [
          { text: "Quick start", link: "/quick-start" },
          { text: "Concepts", link: "/concepts" },
          { text: "Guarantees", link: "/guarantees" },
        ],
      },
      {
        text: "Use",
        items: [
          { text: "Reservations", link: "/reservations" },
          { text: "Pools, trees and blockers", link: "/resources" },
          { text: "Groups", link: "/transactions" },
          { text: "Waiting and fairness", link: "/waiting" },
          { text: "Events and resuming", link: "/events" },
          { text: "Tenants, keys and limits", link: "/tenants" },
          { text: "The queue monitor", link: "/queue-monitor" },
        ],
      },
      {
        text: "From",
        items: [
          { text: "The command line", link: "/command-line" },
          { text: "Python", link: "/clients/python" },
          { text: "TypeScript", link: "/clients/typescript" },
          { text: "Agents (MCP)", link: "/mcp" },
          { text: "Any language", link: "/api" },
        ],
      },
      {
        text: "Recipes",
        items: [
          { text: "All recipes", link: "/recipes/" },
          { text: "A deploy lock", link: "/recipes/deploy-lock" },
          { text: "Test rigs", link: "/recipes/test-rigs" },
          { text: "A GPU pool", link: "/recipes/gpu-pool" },
          { text: "Leader election", link: "/recipes/leader-election" },
          { text: "Two coding agents in one repository", link: "/recipes/agents" },
          { text: "Files that agents share", link: "/recipes/files" },
          { text: "A cache that follows the stream", link: "/recipes/cache" },
          { text: "Fencing in PostgreSQL", link: "/recipes/fencing-postgres" },
          { text: "Fencing in object storage", link: "/recipes/fencing-object-storage" },
        ],
      },
      {
        text: "Run",
        items: [
          { text: "Running it", link: "/running" },
          { text: "Which Redis", link: "/redis" },
          { text: "The tiers file", link: "/tiers" },
          { text: "Metrics", link: "/metrics" },
        ],
      },
      {
        text: "Decide",
        items: [
          { text: "Moving here", link: "/moving" },
          { text: "Questions", link: "/faq" },
        ],
      },
    ].map((group) => ({ ...group, items: group.items.filter(({ link }) => isThere(link)) })),
  },
});
