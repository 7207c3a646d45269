// When to draw: at the next frame after a change, and never so often that drawing is all the page does.

const SHARE_OF_TIME = 4; // drawing takes at most about a quarter of the time
const SHORTEST_REST_MS = 50;

/** @returns {() => void} asks for one call of `draw`, soon; any number of requests before it are the same one */
export function painter(draw) {
  let asked = false;
  let restUntil = 0;
  const run = () => {
    asked = false;
    const startedAt = performance.now();
    draw();
    const endedAt = performance.now();
    restUntil = endedAt + Math.max(SHORTEST_REST_MS, (endedAt - startedAt) * (SHARE_OF_TIME - 1));
  };
  return () => {
    if (asked) return;
    asked = true;
    // A hidden page gets no frames and then draws once it is seen again.
    setTimeout(() => requestAnimationFrame(run), Math.max(0, restUntil - performance.now()));
  };
}
