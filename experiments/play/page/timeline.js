// The timeline: a curve of the value estimates with axes, and the marks that its legend lists.

const GLYPHS = { value: "—", gain: "▲", loss: "▼", life: "✕", end: "┊", shown: "┃" };
const LEFT = 56, RIGHT = 8, TOP = 16, BOTTOM = 18; // room for axis numbers and marks, in pixels

export class Timeline {
  /** Clicking, dragging, or a key on the canvas calls `seek` with a timestep. */
  constructor(canvas, legend, name, seek) {
    Object.assign(this, { canvas, name });
    this.events = []; // [timestep, reward, value, last, lifeLost], oldest first
    for (const item of legend.children) item.dataset.glyph = GLYPHS[item.dataset.mark];
    this.color = (mark) => getComputedStyle(legend.querySelector(`[data-mark=${mark}]`), "::before").color;
    this.resetColors();
    const onPointer = (event) => {
      if (event.buttons && this.events.length) seek(this.timestepAt(event.offsetX));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      onPointer(event);
    });
    canvas.addEventListener("pointermove", onPointer);
    canvas.addEventListener("keydown", (event) => {
      const { timestep, oldest, newest } = this;
      const target = {
        ArrowLeft: timestep - 1, ArrowRight: timestep + 1, PageUp: timestep - 15,
        PageDown: timestep + 15, Home: oldest, End: newest,
      }[event.key];
      if (target === undefined) return;
      event.preventDefault(); // these keys scroll the page
      seek(target);
    });
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /** Read the colors of the legend again, after the theme has changed. */
  resetColors() {
    this.colors = Object.fromEntries(Object.keys(GLYPHS).map((mark) => [mark, this.color(mark)]));
    this.draw();
  }

  /** Add new events, drop those that the server has dropped, and draw. */
  update(state) {
    for (const event of state.events) {
      if (this.events.length && this.events.at(-1)[0] >= event[0]) this.events.pop();
      this.events.push(event);
    }
    const firstKept = this.events.findIndex((event) => event[0] >= state.oldest);
    if (firstKept > 0) this.events.splice(0, firstKept);
    [this.oldest, this.newest, this.timestep] = [state.oldest, state.newest, state.timestep];
    // Of what goes on there is room for some more.
    this.span = Math.max(state.newest - state.oldest, "showBoxes" in state ? 300 : 1);
    const { canvas } = this, values = { min: this.oldest, max: this.newest, now: this.timestep };
    for (const name in values) canvas.setAttribute(`aria-value${name}`, values[name]);
    canvas.setAttribute("aria-valuetext", `timestep ${this.timestep} of ${this.newest}`);
    this.draw();
  }

  /** The kept timestep nearest to this one. */
  within(timestep) {
    return Math.min(Math.max(timestep, this.oldest), this.newest);
  }

  timestepAt(x) {
    const fraction = (x - LEFT) / (this.canvas.clientWidth - LEFT - RIGHT);
    return Math.round(this.oldest + fraction * this.span);
  }

  draw() {
    const { canvas, colors, events } = this, scale = window.devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!events.length || !width) return;
    [canvas.width, canvas.height] = [width * scale, height * scale];
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    context.font = "11px system-ui, sans-serif";
    const bottom = height - BOTTOM;
    const x = (timestep) => LEFT + ((timestep - this.oldest) / this.span) * (width - LEFT - RIGHT);
    let low = Infinity, high = -Infinity;
    for (const [, , value] of events) {
      if (value === null) continue;
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const y = (value) => bottom - ((bottom - TOP) * (value - low)) / (high - low || 1);
    const rect = (mark, ...box) => { context.fillStyle = colors[mark]; context.fillRect(...box); };
    const text = (mark, glyph, left, baseline, align = "center") => {
      [context.fillStyle, context.textAlign] = [colors[mark], align];
      context.fillText(glyph, left, baseline);
    };
    for (const value of low <= high ? axisValues(low, high, 2) : []) {
      context.globalAlpha = 0.35;
      rect("end", LEFT, y(value), width, 1);
      context.globalAlpha = 1;
      text("end", format(value), LEFT - 5, y(value) + 4, "right");
    }
    text("end", this.name, 4, 12, "left");
    if (low > high) text("end", "no value estimates", LEFT + 8, bottom - 8, "left");
    const shownTimesteps = axisValues(this.oldest, this.oldest + this.span, Math.min(10, width / 90));
    shownTimesteps.forEach((timestep, i) => {
      const label = i ? format(timestep) : `timestep ${format(timestep)}`;
      const half = context.measureText(label).width / 2;
      text("end", label, Math.min(Math.max(x(timestep), half), width - half - 1), height - 5);
    });
    for (const [timestep, , , last] of events) {
      if (last) for (let top = 2; top < bottom; top += 6) rect("end", x(timestep), top, 1.5, 3);
    }
    context.strokeStyle = colors.value;
    context.lineWidth = 1.5;
    context.beginPath();
    const stride = Math.max(1, Math.floor(events.length / (2 * width)));
    for (let i = 0; i < events.length; i += stride) {
      const [timestep, , value] = events[i];
      if (value !== null) context.lineTo(x(timestep), y(value));
    }
    context.stroke();
    for (const [timestep, reward, , , lifeLost] of events) {
      if (reward > 0) text("gain", GLYPHS.gain, x(timestep), 11);
      if (reward < 0) text("loss", GLYPHS.loss, x(timestep), bottom);
      if (lifeLost) text("life", GLYPHS.life, x(timestep), bottom);
    }
    rect("shown", Math.min(x(this.timestep), width - 3) - 1, 0, 3, bottom);
  }
}

/** Up to `count` + 1 round values within bounds, or the one value if they are equal. */
function axisValues(low, high, count) {
  if (high === low) return [low];
  const power = 10 ** Math.floor(Math.log10((high - low) / count));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((x) => (high - low) / x <= count);
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
}

function format(x) {
  return x.toLocaleString("en", { maximumSignificantDigits: 6 });
}
