// The keys that are held, on the keyboard or on the pad, which has the game's actions as buttons.

import { element } from "./panels.js";

const LABELS = {
  up: "↑", down: "↓", left: "←", right: "→", upleft: "↖", upright: "↗", downleft: "↙", downright: "↘",
};
const PLACES = ["upleft", "up", "upright", "left", "", "right", "downleft", "down", "downright"];
const rowOf = (name) => Math.floor(PLACES.indexOf(name) / 3);
const TAP = 150; // milliseconds that a button is held that was pressed by a key

export class Pad {
  /** Changes of the held keys, oldest first, call `send`. */
  constructor(container, send) {
    Object.assign(this, { container, send, held: new Map() }); // keys by what holds them
  }

  /** Show the buttons: [name, keys] of each, in a cross if they are directions. */
  show(buttons) {
    const directions = buttons.filter(([name]) => PLACES.includes(name));
    const others = buttons.filter(([name]) => !PLACES.includes(name));
    const cross = element("div", { class: "cross" });
    const rows = [...new Set(directions.map(([name]) => rowOf(name)))]; // from the top
    for (const [name, keys] of directions) {
      const button = this.button(name, keys);
      button.style.gridArea = `${rows.indexOf(rowOf(name)) + 1} / ${(PLACES.indexOf(name) % 3) + 1}`;
      cross.append(button);
    }
    const row = element("div", { class: "others" },
      ...others.map(([name, keys]) => this.button(name, keys)));
    this.container.replaceChildren(...[cross, row].filter((x) => x.children.length));
  }

  button(name, keys) {
    const button = element("button", { "aria-label": name }, LABELS[name] ?? name);
    if (name === "fire") button.title = "space";
    button.keys = keys;
    button.addEventListener("pointerdown", (event) => {
      event.preventDefault();
      button.setPointerCapture?.(event.pointerId);
      this.hold(event.pointerId, keys);
    });
    for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
      button.addEventListener(end, (event) => this.release(event.pointerId));
    }
    button.addEventListener("contextmenu", (event) => event.preventDefault());
    button.addEventListener("click", (event) => {
      if (event.detail) return;
      this.hold(button, keys);
      setTimeout(() => this.release(button), TAP);
    });
    return button;
  }

  hold(source, keys) {
    if (this.held.has(source)) return;
    this.held.set(source, keys);
    this.changed();
  }

  release(source) {
    if (this.held.delete(source)) this.changed();
  }

  releaseAll() {
    if (this.held.size) this.held.clear() ?? this.changed();
  }

  changed() {
    const keys = [...new Set([...this.held.values()].flat())];
    for (const button of this.container.querySelectorAll("button")) {
      button.classList.toggle("held", button.keys.every((key) => keys.includes(key)));
    }
    this.send(keys);
  }
}
