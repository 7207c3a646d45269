import { asObject, UnexpectedAnswerError } from "./errors.js";
import type { HoldfastEvent } from "./types.js";

/** Most characters of one line: a transaction of 1,000 items with names of 1,024 bytes fits. */
export const LINE_LENGTH = 8 << 20;

/** One frame; without a type it moves the cursor alone. */
export interface Frame {
  readonly type: string | null;
  readonly id: string | null;
  readonly data: string | null;
}

/** The parser of server-sent events (WHATWG HTML, "Parsing an event stream"), for a service that ends lines with LF alone. */
export class Parser {
  /** The pause before the next connection that the service asked for, in milliseconds. */
  retryMs: number | null = null;
  readonly #decoder = new TextDecoder();
  #pieces: string[] = [];
  #length = 0;
  #type: string | null = null;
  #id: string | null = null;
  #data: string[] = [];

  /**
   * The frames that a piece of the body completes.
   *
   * @throws RangeError A line passes its bound.
   */
  feed(piece: Uint8Array): Frame[] {
    const frames: Frame[] = [];
    const lines = this.#decoder.decode(piece, { stream: true }).split("\n");
    const rest = lines.pop() ?? "";
    for (const line of lines) {
      this.#pieces.push(line);
      const whole = this.#pieces.join("");
      this.#pieces = [];
      this.#length = 0;
      this.#take(whole.endsWith("\r") ? whole.slice(0, -1) : whole, frames);
    }
    this.#pieces.push(rest);
    this.#length += rest.length;
    if (this.#length > LINE_LENGTH) throw new RangeError("a line of the stream is too long");
    return frames;
  }

  #take(line: string, frames: Frame[]): void {
    if (line === "") {
      const data = this.#data.length > 0 ? this.#data.join("\n") : null;
      if (data !== null || this.#id !== null) frames.push({ type: this.#type, id: this.#id, data });
      this.#type = this.#id = null;
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#type = value;
    else if (name === "id") this.#id = value;
    else if (name === "data") this.#data.push(value);
    else if (name === "retry" && /^\d+$/.test(value)) this.retryMs = Number(value);
  }
}

/** An event from its frame; null of a frame that moves the cursor alone. */
export function eventOf({ type, id, data }: Frame): HoldfastEvent | null {
  if (type === null || data === null) return null;
  let body: unknown;
  try {
    body = JSON.parse(data);
  } catch (error) {
    throw new UnexpectedAnswerError(`an event that is none of Holdfast's: ${String(error)}`, { cause: error });
  }
  const position = id === null ? null : Number(id);
  // Types of the tenant's own begin with a small letter.
  const kind = type === "RESET_CURSOR" ? "reset" : /^[A-Z]/.test(type) ? "reservation" : "platform";
  return { kind, type, position, data: asObject(body) } as unknown as HoldfastEvent;
}
