/** The package in a real browser, on a page of the service's own origin, as its README has it there: without an address and a key. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { PACKAGE, type Tenant, World, held } from "./support.js";

/** What is used of playwright-core, which the browser tests of the suite install. */
interface Page {
  goto(url: string): Promise<unknown>;
  evaluate<Result>(work: (argument: string) => Promise<Result>, argument: string): Promise<Result>;
  route(pattern: string, answer: (route: Route) => Promise<void>): Promise<void>;
}
interface Route {
  request(): { url(): string };
  fulfill(answer: { contentType: string; body: string }): Promise<void>;
}
interface Playwright {
  chromium: {
    launch(options: object): Promise<{ newPage(options: object): Promise<Page>; close(): Promise<void> }>;
  };
}

let world: World;
let tenant: Tenant;

before(async () => {
  world = await World.start();
  tenant = await world.tenant();
});
after(() => world.close());

test("a browser holds, waits and follows events with its session", async () => {
  const require = createRequire(join(PACKAGE, "..", "..", "tests", "browser", "package.json"));
  const { chromium } = require("playwright-core") as Playwright;
  const browser = await chromium.launch({
    executablePath: process.env["CHROMIUM"] ?? "/usr/bin/chromium",
    args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
  });
  try {
    // The dashboard's policy allows its own files alone; these stand in for the page of somebody else's application.
    const page = await browser.newPage({ bypassCSP: true });
    await page.route("**/client/*.js", async (route) => {
      const name = route.request().url().split("/").pop() ?? "";
      const body = readFileSync(join(PACKAGE, "dist", name), "utf8");
      await route.fulfill({ contentType: "text/javascript", body });
    });
    await page.goto(`${world.urls[0]}/`);
    const seen = await page.evaluate(async (apiKey) => {
      const path = "/client/index.js";
      const { Client } = (await import(path)) as typeof import("@holdfast/client");
      const headers = { "Content-Type": "application/json" };
      await fetch("/api/v1/session", { method: "POST", headers, body: JSON.stringify({ apiKey }) });
      const client = new Client();
      const events = await client.events({ types: ["RESERVED", "WAITING"] }).open();
      const first = await client.hold("db", { ttl: 60 });
      const second = client.hold("db", { ttl: 6, wait: 60 });
      const types = [(await events.next()).value?.type, (await events.next()).value?.type];
      await first.release();
      const lease = await second;
      const lost = new Promise((resolve) => lease.signal.addEventListener("abort", resolve));
      await client.forceRelease("db");
      await lost;
      events.close();
      return { types, later: lease.fence > first.fence, requester: lease.requester, reason: lease.lostReason };
    }, tenant.apiKey);
    assert.deepEqual(seen.types, ["RESERVED", "WAITING"]);
    assert.ok(seen.later);
    assert.match(seen.requester, /^browser:page-[0-9a-f]{12}$/);
    assert.match(seen.reason ?? "", /ended by somebody else/);
    assert.deepEqual(await held(world.client(tenant)), []);
  } finally {
    await browser.close();
  }
});
