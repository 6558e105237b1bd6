// One player on the page: its stage with the game, its panels and its timeline.

import { element, fitPictures, setText, showPanels, showPictures } from "./panels.js";
import { eraseWithPointer } from "./strokes.js";
import { Timeline } from "./timeline.js";

const get = (id) => document.getElementById(id);
const copy = (id) => get(id).content.firstElementChild.cloneNode(true);

export class Player {
  /** `send` sends a command to this player; `seek` to all. */
  constructor(info, { name, two, send, seek }) {
    Object.assign(this, { info, name, send });
    this.stage = copy("stage-template");
    this.inspection = copy("inspection-template");
    this.view = this.stage.querySelector(".main-view");
    this.panels = this.inspection.querySelector(".panels");
    this.stage.querySelector("h2").textContent = name;
    this.stage.querySelector(".run").textContent = info.run;
    this.stage.setAttribute("aria-label", `Game of ${name}`);
    this.inspection.setAttribute("aria-label", `What ${name} computes`);
    this.inspection.querySelector("h2").textContent = name;
    this.canvas = element("canvas", {
      class: "timeline", tabindex: 0, role: "slider", "aria-label": `Timeline of ${name}`,
    });
    get("stages").append(this.stage);
    get("inspections").append(this.inspection);
    get("timelines").append(this.canvas);
    this.timeline = new Timeline(this.canvas, get("legend"), two ? name[0] : "", seek);
    this.sendStroke = eraseWithPointer(this.panels, (points) => send("erase", { value: points }));
    this.observer = new ResizeObserver(() => fitPictures(this.view));
    this.observer.observe(this.view);
  }

  /** Show a view, whose images are decoded. */
  showView(view) {
    const { stage, inspection } = this;
    const untrained = inspection.querySelector(".untrained");
    stage.classList.toggle("is-untrained", view.untrained.length > 0);
    untrained.hidden = !view.untrained.length;
    setText(untrained.lastElementChild, view.untrained.join(" "));
    showPictures(this.view, view.pictures, this.name);
    showPanels(this.panels, view.panels, (name, value) => this.send("set_slider", { name, value }));
    inspection.querySelector(".empty").hidden = view.panels.length > 0;
    this.sendStroke();
  }

  showState(state) {
    this.timeline.update(state);
    const values = {
      score: format(state.score), length: state.length, episode: state.episode + 1,
      horizon: state.horizon, action: state.lastAction || "none", meanReturn: format(state.meanReturn),
      returns: state.numReturns === 1 ? "return" : `mean of ${state.numReturns} returns`,
    };
    for (const [name, value] of Object.entries(values)) {
      setText(this.stage.querySelector(`[data-value=${name}]`), String(value));
    }
    this.stage.classList.toggle("returned", state.numReturns > 0);
    const waiting = this.stage.querySelector(".waiting");
    waiting.hidden = !state.waiting;
    setText(waiting, `The episode is over, with a return of ${format(state.score)}. It waits for the other.`);
  }

  remove() {
    this.observer.disconnect();
    for (const node of [this.stage, this.inspection, this.canvas]) node.remove();
  }
}

function format(x) {
  return x === null ? "untried" : x.toLocaleString("en", { maximumFractionDigits: 2 });
}
