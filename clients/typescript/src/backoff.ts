/**
 * Pauses between attempts: each is drawn evenly from half of its bound to the whole of it ("equal jitter"), and the
 * bound doubles, so that clients that failed together do not come back together.
 */
export class Backoff {
  readonly #first: number;
  readonly #most: number;
  #bound: number;

  constructor(firstMs: number, mostMs: number) {
    this.#first = this.#bound = firstMs;
    this.#most = mostMs;
  }

  /** The next pause, in milliseconds. */
  pause(): number {
    const bound = this.#bound;
    this.#bound = Math.min(bound * 2, this.#most);
    return jittered(bound);
  }

  /** Begins again at the first pause, after a success. */
  reset(): void {
    this.#bound = this.#first;
  }
}

/** A duration between half of `bound` and `bound`. */
export function jittered(bound: number): number {
  return bound * (0.5 + Math.random() / 2);
}

/** Waits; rejects with the signal's reason once that is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason as Error);
      return;
    }
    const aborted = (): void => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    }, ms);
    signal?.addEventListener("abort", aborted, { once: true });
  });
}
