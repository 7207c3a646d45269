// The service allows no inline script (`script-src 'self'`), and VitePress writes small ones into the head of each page,
// which choose light or dark before anything is drawn. Each becomes a file, which blocks as it did inline.
import { createHash } from "node:crypto";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";

export function scriptsInFiles(base) {
  const files = new Map();
  return {
    transformHtml(page) {
      return page.replace(/<script(?![^>]*\ssrc=)([^>]*)>(.*?)<\/script>/gs, (_, attributes, script) => {
        const name = `assets/head.${createHash("sha256").update(script).digest("hex").slice(0, 8)}.js`;
        files.set(name, script);
        return `<script${attributes} src="${base}${name}"></script>`;
      });
    },
    async buildEnd({ outDir }) {
      await mkdir(join(outDir, "assets"), { recursive: true });
      for (const [name, script] of files) await writeFile(join(outDir, name), script);
    },
  };
}
