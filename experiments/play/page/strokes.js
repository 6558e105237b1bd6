// Strokes with a pointer over a picture, which erase its pixels.

const MAX_POINTS = 500; // of a message

/**
 * Call `send` with the points of strokes over the erasable pictures of a container, as fractions of
 * the picture. Returns a function to call after each frame: points are sent one message a frame.
 */
export function eraseWithPointer(container, send) {
  let points = [], canvas = null, waiting = false;
  const flush = () => {
    if (waiting || !points.length) return;
    send(points.slice(-MAX_POINTS));
    waiting = true;
    points = [];
  };
  let last = null; // point of the stroke, where the next message begins
  const add = (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const within = (fraction) => Math.min(Math.max(fraction, 0), 1);
    if (!points.length && last) points.push(last);
    last = [within((event.clientX - left) / width), within((event.clientY - top) / height)];
    points.push(last);
    flush();
  };
  container.addEventListener("pointerdown", (event) => {
    if (event.button || !event.target.matches("canvas.erasable")) return;
    canvas = event.target;
    canvas.setPointerCapture(event.pointerId);
    event.preventDefault();
    add(event);
  });
  container.addEventListener("pointermove", (event) => canvas && add(event));
  for (const end of ["pointerup", "pointercancel"]) {
    container.addEventListener(end, () => { canvas = last = null; });
  }
  return () => {
    waiting = false;
    flush();
  };
}
