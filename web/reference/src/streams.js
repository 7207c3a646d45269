// Event streams have no end, and Swagger UI waits for one: what comes within a while is shown.

const SECONDS = 5;
const MAX_BYTES = 64 * 1024;

export function isStream(request) {
  const { pathname } = new URL(request.url, location.href);
  return request.method.toUpperCase() === "GET" && ["/api/v1/events", "/api/events/stream"].includes(pathname);
}

/** A `fetch` that reads a stream for some seconds, and says where it stopped. */
export async function readForAWhile(url, options) {
  const stop = new AbortController();
  const response = await fetch(url, { ...options, signal: stop.signal });
  const { status, statusText, headers } = response;
  if (!headers.get("content-type")?.startsWith("text/event-stream")) return response;
  const timer = setTimeout(() => stop.abort(), SECONDS * 1000);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  let end = ": the stream ended\n";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      text += value;
      if (text.length > MAX_BYTES) stop.abort();
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
    end = `: this page stops reading after ${SECONDS} s or ${MAX_BYTES / 1024} KiB\n`;
  } finally {
    clearTimeout(timer);
  }
  return new Response(text + end, { status, statusText, headers });
}
