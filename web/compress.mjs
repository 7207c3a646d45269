// Writes `<file>.gz` beside every text of a folder: `node compress.mjs dist`. The service sends it to clients that accept gzip.
// gzip alone: browsers ask for brotli over TLS only, and a dashboard in a closed network often has none.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { extname, join } from "node:path";
import { gzipSync } from "node:zlib";

const TEXTS = new Set([".css", ".html", ".js", ".json", ".mjs", ".svg", ".txt", ".webmanifest", ".xml"]);

const folder = process.argv[2];
for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
  if (!entry.isFile() || !TEXTS.has(extname(entry.name))) continue;
  const file = join(entry.parentPath ?? entry.path, entry.name);
  await writeFile(`${file}.gz`, gzipSync(await readFile(file), { level: 9 }));
}
