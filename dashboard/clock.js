// The server's clock, as well as this page can know it.
//
// Only Redis' clock decides when a reservation ends, and the computer in front of the person may be minutes off. So every
// answer's `Holdfast-Time` (microseconds) is compared with the middle of the call that brought it.

export class ServerClock {
  #aheadMs = 0;

  /** Learns from an answer; one without the header changes nothing. */
  learn(response, sentAtMs, receivedAtMs) {
    const serverUs = Number(response.headers.get('Holdfast-Time'));
    if (!(serverUs > 0)) return;
    this.#aheadMs = serverUs / 1000 - (sentAtMs + receivedAtMs) / 2;
  }

  /** Now, in milliseconds since the Unix epoch, on the server's clock. */
  nowMs() {
    return Date.now() + this.#aheadMs;
  }
}
