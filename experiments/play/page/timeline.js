// The timeline: value estimates as a curve, rewards as marks, ends of episodes as lines.

import { color } from "./panels.js";

export class Timeline {
  /** Clicking or dragging on the canvas calls `seek` with a timestep. */
  constructor(canvas, seek) {
    this.canvas = canvas;
    this.events = []; // [timestep, reward, value, last], oldest first
    const onPointer = (event) => {
      if (event.buttons && this.events.length) seek(this.timestepAt(event.offsetX));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      onPointer(event);
    });
    canvas.addEventListener("pointermove", onPointer);
  }

  /** Add new events, drop those that the server has dropped, and draw. */
  update(state) {
    for (const event of state.events) {
      if (this.events.length && this.events.at(-1)[0] >= event[0]) this.events.pop();
      this.events.push(event);
    }
    const firstKept = this.events.findIndex((event) => event[0] >= state.oldest);
    if (firstKept > 0) this.events.splice(0, firstKept);
    this.oldest = state.oldest;
    this.span = Math.max(state.newest - state.oldest, 300);
    this.draw(state.timestep);
  }

  timestepAt(x) {
    const newest = this.events.at(-1)[0];
    const timestep = Math.round(this.oldest + (x / this.canvas.clientWidth) * this.span);
    return Math.min(Math.max(timestep, this.oldest), newest);
  }

  draw(currentTimestep) {
    const { canvas } = this, scale = window.devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    [canvas.width, canvas.height] = [width * scale, height * scale];
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    const x = (timestep) => ((timestep - this.oldest) / this.span) * width;
    const values = this.events.map((event) => event[2]).filter((value) => value !== null);
    const low = Math.min(...values), range = Math.max(...values) - low || 1;
    const y = (value) => height - 8 - ((height - 24) * (value - low)) / range;
    context.strokeStyle = color("border");
    context.beginPath();
    for (const [timestep, , , last] of this.events) {
      if (last) context.rect(x(timestep), 0, 0.5, height);
    }
    context.stroke();
    context.strokeStyle = color("blue");
    context.beginPath();
    const stride = Math.max(1, Math.floor(this.events.length / (2 * width)));
    for (let i = 0; i < this.events.length; i += stride) {
      const [timestep, , value] = this.events[i];
      if (value !== null) context.lineTo(x(timestep), y(value));
    }
    context.stroke();
    for (const [timestep, reward] of this.events) {
      if (!reward) continue;
      context.fillStyle = color(reward > 0 ? "green" : "red");
      context.fillRect(x(timestep) - 0.5, reward > 0 ? 2 : height - 10, 1.5, 8);
    }
    context.fillStyle = color("amber");
    context.fillRect(Math.min(x(currentTimestep), width - 2), 0, 2, height);
  }
}
