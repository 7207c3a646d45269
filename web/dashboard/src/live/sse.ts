// Server-sent events, read from text that arrives in pieces.
//
// A line ends at LF, CR or CRLF, and a piece may end anywhere, between the CR and the LF too. An event that the stream's end
// cuts short is never given out. This is the standard's algorithm. The browser's EventSource has it too, but hears only types
// that it was told of, says nothing of the status of a refusal, and does not let the page hear that the server is still there;
// eventsource-parser drops the ids of blocks without data, with which the server moves the cursor past what filters hide.

const LF = 10;
const CR = 13;

export interface Frame {
  /** `message` when the stream does not name it. */
  type: string;
  text: string;
}

export class EventStreamParser {
  /** The position to resume from: the last `id` that a blank line confirmed. Null before the first. */
  lastEventId: string | null = null;

  /** How long the server asks to wait before a reconnect. Null while it has not said. */
  retryMs: number | null = null;

  #pendingId: string | null = null;
  #type = '';
  #dataLines: string[] = [];
  #line = '';
  #endedInCr = false;

  /** Takes the next piece of decoded text, of any length. @returns the events that it completes, in order */
  push(text: string): Frame[] {
    const completed: Frame[] = [];
    if (text === '') return completed;
    let start = this.#endedInCr && text.charCodeAt(0) === LF ? 1 : 0;
    this.#endedInCr = false;
    for (let at = start; at < text.length; at++) {
      const code = text.charCodeAt(at);
      if (code !== LF && code !== CR) continue;
      this.#take(this.#line + text.slice(start, at), completed);
      this.#line = '';
      if (code === CR) {
        if (at + 1 === text.length) this.#endedInCr = true;
        else if (text.charCodeAt(at + 1) === LF) at++;
      }
      start = at + 1;
    }
    this.#line += text.slice(start);
    return completed;
  }

  #take(line: string, completed: Frame[]): void {
    if (line === '') return this.#dispatch(completed);
    const colon = line.indexOf(':');
    if (colon === 0) return; // a comment: a sign of life, nothing more
    const field = colon < 0 ? line : line.slice(0, colon);
    const rest = colon < 0 ? '' : line.slice(colon + 1);
    const value = rest.startsWith(' ') ? rest.slice(1) : rest;
    if (field === 'data') this.#dataLines.push(value);
    else if (field === 'event') this.#type = value;
    else if (field === 'id' && !value.includes('\0')) this.#pendingId = value;
    else if (field === 'retry' && /^[0-9]+$/.test(value)) this.retryMs = Number(value);
  }

  #dispatch(completed: Frame[]): void {
    if (this.#pendingId !== null) this.lastEventId = this.#pendingId; // moves the cursor even without an event
    if (this.#dataLines.length > 0) completed.push({ type: this.#type || 'message', text: this.#dataLines.join('\n') });
    this.#type = '';
    this.#dataLines = [];
  }
}
