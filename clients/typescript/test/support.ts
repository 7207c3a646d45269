/** What the tests share: a real Redis, real replicas over it, tenants, and waiting for states. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";

import { Client } from "@holdfast/client";

/** The package's folder; the tests are built into `dist-test`. */
export const PACKAGE = join(import.meta.dirname, "..");
export const BINARY = process.env["HOLDFAST_BIN"] ?? join(PACKAGE, "..", "..", "target", "debug", "holdfast");
const ADMIN_KEY = "admin-key-of-the-tests";
/** Timeout of every wait for a state: generous, because tests share the machine; only a failing test waits for it. */
const TIMEOUT_MS = 20_000;

/** Waits until `state` gives something truthy, and returns it. */
export async function eventually<T>(what: string, state: () => T | Promise<T>): Promise<NonNullable<T>> {
  const end = performance.now() + TIMEOUT_MS;
  for (;;) {
    const found = await state();
    if (found) return found as NonNullable<T>;
    if (performance.now() > end) throw new Error(`timeout: ${what}`);
    await delay(5);
  }
}

/** The environment without settings of whoever runs the tests. */
export function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("HOLDFAST_")));
}

/** A process that ends with this one, whatever becomes of it. */
export class Program {
  readonly child: ChildProcess;
  readonly lines: string[] = [];
  errors = "";

  constructor(command: readonly string[], env: NodeJS.ProcessEnv = environment()) {
    const options = { env, stdio: ["ignore", "pipe", "pipe"] as ["ignore", "pipe", "pipe"] };
    const child = spawn("setpriv", ["--pdeathsig", "KILL", ...command], options);
    createInterface(child.stdout).on("line", (line) => this.lines.push(line));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (this.errors += text));
    this.child = child;
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  /** Pauses it, and waits until the kernel says so. */
  async stop(): Promise<void> {
    this.signal("SIGSTOP");
    const state = (): string | undefined => readFileSync(`/proc/${this.child.pid}/stat`, "utf8").split(") ")[1]?.[0];
    await eventually("the process is stopped", () => state() === "T");
  }

  goOn(): void {
    this.signal("SIGCONT");
  }

  get ended(): boolean {
    return this.child.exitCode !== null || this.child.signalCode !== null;
  }

  async end(): Promise<number | NodeJS.Signals> {
    if (!this.ended) await once(this.child, "exit");
    return this.child.exitCode ?? this.child.signalCode ?? 0;
  }

  async kill(): Promise<void> {
    this.signal("SIGKILL");
    await this.end();
  }

  /** Its next line that contains a text. */
  line(part: string): Promise<string> {
    return eventually(`${part} is printed; ${this.errors}`, () => this.lines.find((line) => line.includes(part)));
  }
}

/** The service as users run it, with JSON logs. */
export class Replica extends Program {
  url = "";

  constructor(redisUrl: string) {
    super([BINARY, "serve"], {
      ...environment(),
      HOLDFAST_LISTEN: "127.0.0.1:0",
      HOLDFAST_ADMIN_KEY: ADMIN_KEY,
      HOLDFAST_REDIS_URL: redisUrl,
      HOLDFAST_LOG_FORMAT: "json",
      HOLDFAST_DRAIN_SECONDS: "2",
      HOLDFAST_WORKERS: "2",
    });
  }

  /** Waits until it serves. */
  async ready(): Promise<this> {
    this.url = await eventually("the replica listens", () => {
      if (this.ended) throw new Error(this.errors);
      return /"listening","address":"([^"]+)"/.exec(this.errors)?.[1];
    });
    const answers = (): Promise<boolean> =>
      fetch(`${this.url}/readyz`).then(
        (answer) => answer.ok,
        () => false,
      );
    await eventually("the replica is ready", answers);
    return this;
  }
}

export interface Tenant {
  readonly tenantId: string;
  readonly apiKey: string;
}

/** One Redis and two replicas over it. */
export class World {
  readonly redis: Program;
  replicas: [Replica, Replica];
  readonly #folder: string;
  readonly #redisUrl: string;

  private constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), "holdfast-typescript-"));
    const socket = join(this.#folder, "redis.sock");
    this.#redisUrl = `redis+unix://${socket}`;
    const options = ["--port", "0", "--save", "", "--unixsocket", socket, "--dir", this.#folder];
    this.redis = new Program(["redis-server", ...options]);
    this.replicas = [new Replica(this.#redisUrl), new Replica(this.#redisUrl)];
  }

  static async start(): Promise<World> {
    const world = new World();
    await eventually("redis answers", () => existsSync(join(world.#folder, "redis.sock")));
    await Promise.all(world.replicas.map((replica) => replica.ready()));
    return world;
  }

  get urls(): string[] {
    return this.replicas.map((replica) => replica.url);
  }

  async tenant(tier = "Pro"): Promise<Tenant> {
    const answer = await fetch(`${this.urls[1]}/api/v1/admin/tenants`, {
      method: "POST",
      headers: { "X-Admin-Key": ADMIN_KEY, "Content-Type": "application/json" },
      body: JSON.stringify({ name: `typescript-${crypto.randomUUID()}`, tier }),
    });
    if (answer.status !== 201) throw new Error(await answer.text());
    return (await answer.json()) as Tenant;
  }

  /** A client that knows these replicas, all without numbers. */
  client(tenant: Tenant, ...numbers: readonly (0 | 1)[]): Client {
    const url = numbers.length > 0 ? numbers.map((number) => this.replicas[number].url) : this.urls;
    return new Client({ url, key: tenant.apiKey });
  }

  /** Has everything run again that a test has stopped or killed. */
  async repair(): Promise<void> {
    for (const process of [this.redis, ...this.replicas]) process.goOn();
    const whole = this.replicas.map((replica) => (replica.ended ? new Replica(this.#redisUrl) : replica));
    this.replicas = whole as [Replica, Replica];
    await Promise.all(this.replicas.map((replica) => replica.ready()));
  }

  async close(): Promise<void> {
    await Promise.all([...this.replicas, this.redis].map((process) => process.kill()));
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

/** The names that are held. */
export async function held(client: Client): Promise<string[]> {
  return (await client.listReservations()).rows.map((row) => row.resource).sort();
}

export async function waiting(client: Client): Promise<number> {
  return (await client.listWaiting()).rows.length;
}

/** A program with the package, whose lines a test reads. */
export function program(code: string, urls: readonly string[], tenant: Tenant): Program {
  const settings = { HOLDFAST_URL: urls[0], HOLDFAST_KEY: tenant.apiKey };
  // Within the package, so that it finds it by its name.
  const options = ["--input-type=module", "--eval", code];
  return new Program(["env", "--chdir", PACKAGE, process.execPath, ...options], { ...environment(), ...settings });
}

/** One step of a peer: an answer, or null for none. */
export type Step = { status: number; body: unknown; headers?: Record<string, string> } | null;

/** A peer that follows a script: each exchange is what the contract lets a service answer. */
export class Peer implements AsyncDisposable {
  readonly requests: { line: string; body: unknown; at: number }[] = [];
  readonly #server: Server;

  private constructor(script: Step[]) {
    this.#server = createServer((request, response) => {
      let text = "";
      request.on("data", (piece: Buffer) => (text += piece.toString()));
      request.on("end", () => {
        const line = `${request.method} ${request.url}`;
        this.requests.push({ line, body: text === "" ? null : JSON.parse(text), at: performance.now() });
        const step = script.shift() ?? null;
        if (step === null) {
          request.socket.destroy();
          return;
        }
        response.writeHead(step.status, step.headers);
        response.end(typeof step.body === "string" ? step.body : JSON.stringify(step.body));
      });
    });
  }

  static async start(...script: Step[]): Promise<Peer> {
    const peer = new Peer(script);
    peer.#server.listen(0, "127.0.0.1");
    await once(peer.#server, "listening");
    return peer;
  }

  get client(): Client {
    const { port } = this.#server.address() as AddressInfo;
    return new Client({ url: `http://127.0.0.1:${port}`, key: "hf_live_x" });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }
}

export function refusal(code: string, more: object = {}): object {
  return { error: { code, message: "No.", docsUrl: "/docs#errors", details: [] }, ...more };
}
