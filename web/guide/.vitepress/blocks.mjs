// Code blocks as tests/docs/run.py reads them: a session is shown as commands, which can be copied, and what they print;
// a file has its name above it, and what is not run says why below it.

const prompt = (line) => line.startsWith("$ ");

/** The commands and outputs of a session, in turn. Commands that print nothing share a piece. */
function pieces(session) {
  const found = [];
  const add = (kind, line) => {
    if (found.at(-1)?.kind === kind) found.at(-1).lines.push(line);
    else found.push({ kind, lines: [line] });
  };
  let goesOn = false;
  let printed = true;
  for (const line of session.replace(/\n$/, "").split("\n")) {
    if (prompt(line)) {
      add("command", line.slice(2));
      printed = false;
    } else if (goesOn || (!printed && line.startsWith("> "))) {
      add("command", line.replace(/^> /, ""));
    } else {
      printed = true;
      add("output", line);
    }
    goesOn = !printed && line.endsWith("\\");
  }
  return found;
}

const looksLikeJson = (text) => /^[[{"]/.test(text.trim()) && /[\]}"]$/.test(text.trim());

export function blocks(md) {
  const fence = md.renderer.rules.fence;
  const escape = md.utils.escapeHtml;

  md.renderer.rules.fence = (tokens, index, options, env, self) => {
    const token = tokens[index];
    const render = (language, content) => {
      const piece = Object.assign(Object.create(Object.getPrototypeOf(token)), token, { info: language, content });
      return fence([piece], 0, options, env, self);
    };
    const info = token.info.trim();
    if (info === "console") {
      const shown = pieces(token.content).map(({ kind, lines }) => {
        const text = lines.join("\n").trimEnd();
        if (kind === "command") return render("sh", `${text}\n`);
        return `<div class="output">${render(looksLikeJson(text) ? "json" : "txt", `${text}\n`)}</div>`;
      });
      return `<div class="session">${shown.join("")}</div>`;
    }
    const language = info.split(/[\s[]/)[0];
    const name = token.src?.[0]?.split("/").at(-1) ?? info.match(/\sfile=(\S+)/)?.[1];
    const reason = info.match(/\snot-run: (.+)/)?.[1];
    const above = name ? `<div class="name">${escape(name)}</div>` : "";
    const below = reason ? `<div class="reason">Not run by the tests of these pages: ${escape(reason)}.</div>` : "";
    const code = token.src ? fence(tokens, index, options, env, self) : render(language, token.content);
    return above || below ? `<div class="captioned">${above}${code}${below}</div>` : code;
  };
}
