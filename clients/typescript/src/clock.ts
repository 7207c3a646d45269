/** Timers stop while the machine is suspended: after a resume a deadline is noticed within this, in milliseconds. */
export const SLEEP_STEP_MS = 1_000;

/**
 * How far the wall clock must run ahead of the monotonic one between two looks to count, in milliseconds: the machine
 * was suspended, which not every engine's monotonic clock counts, or somebody set the clock. In either case a lease may
 * be over.
 */
const SUSPENDED_MS = 500;

/**
 * A clock for deadlines: it never goes back, and it counts while the machine is suspended, as the service's clock does.
 *
 * No engine offers such a clock, so it follows the monotonic one and adds what the wall clock ran ahead of it. Where
 * somebody sets the wall clock forward it runs ahead: a lease counts as lost too early then, never too late.
 */
export function makeClock(monotonic: () => number, wall: () => number): () => number {
  let lastMonotonic = monotonic();
  let lastWall = wall();
  let elapsed = 0;
  return () => {
    const monotonicNow = monotonic();
    const wallNow = wall();
    const step = Math.max(monotonicNow - lastMonotonic, 0);
    const ahead = wallNow - lastWall - step;
    elapsed += step + (ahead > SUSPENDED_MS ? ahead : 0);
    lastMonotonic = monotonicNow;
    lastWall = wallNow;
    return elapsed;
  };
}

/** Milliseconds since this module was loaded. */
export const now: () => number = makeClock(
  () => performance.now(),
  () => Date.now(),
);
