/** The package as others get it: what is packed, and the examples of its README. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";

import { BINARY, PACKAGE, Program, environment, eventually } from "./support.js";

const run = promisify(execFile);
const EXAMPLES = [...readFileSync(join(PACKAGE, "README.md"), "utf8").matchAll(/^```(ts|js)\n(.*?)^```$/gms)];
/** Within the package, so that the examples find it by its name. */
const FOLDER = join(PACKAGE, "dist-test", "readme");

let demo: Program;
let data: string;
let settings: NodeJS.ProcessEnv;

before(async () => {
  mkdirSync(FOLDER, { recursive: true });
  EXAMPLES.forEach(([, kind, code], number) => writeFileSync(join(FOLDER, `${number}.${kind}`), code ?? ""));
  const config = {
    extends: "../../tsconfig.json",
    // No more libraries than a project of somebody else has.
    compilerOptions: { lib: ["ES2022", "DOM"], types: ["node"], rootDir: ".", outDir: ".", noUnusedLocals: false },
    include: ["*.ts"],
    // Or all would be left out, for what is made stands beside it.
    exclude: [],
  };
  writeFileSync(join(FOLDER, "tsconfig.json"), JSON.stringify(config));
  const compiler = join(PACKAGE, "node_modules", "typescript", "bin", "tsc");
  await run(process.execPath, [compiler, "--project", FOLDER]).catch((error: { stdout: string }) => {
    assert.fail(`the examples do not compile: ${error.stdout}`);
  });
  data = mkdtempSync(join(tmpdir(), "holdfast-demo-"));
  demo = new Program([BINARY, "serve", "--demo"], {
    ...environment(),
    HOLDFAST_DATA_DIR: data,
    HOLDFAST_LISTEN: "127.0.0.1:0",
  });
  const printed = (pattern: RegExp): Promise<string> =>
    eventually(`${pattern} is printed; ${demo.errors}`, () => pattern.exec(demo.lines.join("\n"))?.[0]);
  settings = { HOLDFAST_KEY: await printed(/hf_live_\S+/), HOLDFAST_URL: await printed(/http:\/\/[\d.:]+/) };
});

after(async () => {
  // Asked, so that it ends its private Redis, too.
  demo.signal("SIGTERM");
  await demo.end();
  rmSync(data, { recursive: true, force: true });
});

EXAMPLES.forEach((_, number) => {
  test(`example ${number} of the README runs as it is pasted`, async () => {
    const options = { env: { ...environment(), ...settings }, timeout: 60_000 };
    const { stdout, stderr } = await run(process.execPath, [join(FOLDER, `${number}.js`)], options);
    assert.notEqual(stdout, "");
    assert.equal(stderr, "");
  });
});

test("there are examples", () => {
  assert.ok(EXAMPLES.length >= 7);
});

test("what is packed is the code, its types and the README", async () => {
  const { stdout } = await run("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], { cwd: PACKAGE });
  const [packed] = JSON.parse(stdout) as [{ files: { path: string }[] }];
  const paths = packed.files.map(({ path }) => path);
  for (const wanted of ["README.md", "package.json", "dist/index.js", "dist/index.d.ts"])
    assert.ok(paths.includes(wanted), wanted);
  assert.deepEqual(
    paths.filter((path) => !/^(dist\/[a-z]+\.(js|d\.ts)|README\.md|package\.json)$/.test(path)),
    [],
  );
  const manifest = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8")) as Record<string, unknown>;
  assert.equal(manifest["dependencies"], undefined);
});
