// Writes dist/reference: our files, and the two of Swagger UI that we use, under names with their version.
import { copyFile, mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const swagger = dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
const { version } = JSON.parse(await readFile(join(swagger, "package.json"), "utf8"));
const out = new URL("../dist/reference/", import.meta.url);

await mkdir(new URL("assets/", out), { recursive: true });
for (const name of ["swagger-ui.css", "swagger-ui-bundle.js"]) {
  await copyFile(join(swagger, name), new URL(`assets/${version}-${name}`, out));
}
for (const name of await readdir(new URL("src/", import.meta.url))) {
  const text = await readFile(new URL(`src/${name}`, import.meta.url), "utf8");
  await writeFile(new URL(name, out), text.replaceAll("{swagger}", version));
}
