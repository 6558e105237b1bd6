// The last minutes: the value as a curve, rewards as marks, episodes as lines; drag to look back.

import { colour } from "./panels.js";

export class Timeline {
  constructor(canvas, scrub) {
    this.canvas = canvas;
    this.events = []; // [tick, reward, value, last], oldest first
    const go = (event) => {
      if (event.buttons && this.events.length) scrub(this.tickAt(event.offsetX));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      go(event);
    });
    canvas.addEventListener("pointermove", go);
  }

  /** Take what is new, forget what the server has forgotten, and draw. */
  show(now) {
    for (const event of now.events) {
      if (this.events.length && this.events.at(-1)[0] >= event[0]) this.events.pop();
      this.events.push(event);
    }
    const old = this.events.findIndex((event) => event[0] >= now.oldest);
    if (old > 0) this.events.splice(0, old);
    this.first = now.oldest;
    this.span = Math.max(now.newest - now.oldest, 300);
    this.draw(now);
  }

  tickAt(x) {
    const newest = this.events.at(-1)[0];
    const tick = Math.round(this.first + (x / this.canvas.clientWidth) * this.span);
    return Math.min(Math.max(tick, this.first), newest);
  }

  draw(now) {
    const { canvas } = this, scale = window.devicePixelRatio;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    [canvas.width, canvas.height] = [width * scale, height * scale];
    const draw = canvas.getContext("2d");
    draw.scale(scale, scale);
    const x = (tick) => ((tick - this.first) / this.span) * width;
    const known = this.events.filter((event) => event[2] !== null).map((event) => event[2]);
    const low = Math.min(...known), range = Math.max(...known) - low || 1;
    draw.strokeStyle = colour("edge");
    draw.beginPath();
    for (const [tick, , , last] of this.events) {
      if (last) draw.rect(x(tick), 0, 0.5, height);
    }
    draw.stroke();
    draw.strokeStyle = colour("blue");
    draw.beginPath();
    const step = Math.max(1, Math.floor(this.events.length / (2 * width)));
    for (let i = 0; i < this.events.length; i += step) {
      const [tick, , value] = this.events[i];
      if (value !== null) draw.lineTo(x(tick), height - 8 - ((height - 24) * (value - low)) / range);
    }
    draw.stroke();
    for (const [tick, reward] of this.events) {
      if (!reward) continue;
      draw.fillStyle = colour(reward > 0 ? "green" : "red");
      draw.fillRect(x(tick) - 0.5, reward > 0 ? 2 : height - 10, 1.5, 8);
    }
    draw.fillStyle = colour("amber");
    draw.fillRect(Math.min(x(now.tick), width - 2), 0, 2, height);
  }
}
