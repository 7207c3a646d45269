// Links to what the binary serves beside the guide: the dashboard at /, the API's reader at /docs. The guide's router must
// leave them to the browser.
const OWN = /^\/(docs(#.*)?|openapi\.json)?$/;

export function ownPages(md) {
  md.core.ruler.push("own-pages", (state) => {
    for (const { children } of state.tokens) {
      for (const token of children ?? []) {
        if (token.type === "link_open" && OWN.test(token.attrGet("href"))) token.attrSet("target", "_self");
      }
    }
  });
}
