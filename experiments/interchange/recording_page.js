"use strict";
(() => {
  const player = document.getElementById("player");
  const { actions, episodes } = JSON.parse(document.getElementById("recording").textContent);
  const width = Number(player.dataset.width), height = Number(player.dataset.height);
  const SPAN = 1000, HIGH = 100, THUMBNAILS = 24;

  const make = (tag, parent, properties = {}) =>
    parent.appendChild(Object.assign(document.createElement(tag), properties));
  const draw = (tag, parent, attributes) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return parent.appendChild(element);
  };
  const number = (x) => Number(x.toFixed(3)).toLocaleString("en");

  const chooser = make("div", player, { className: "episodes" });
  const view = make("div", player, { className: "view" });
  const screen = make("canvas", view, { className: "screen", width, height });
  screen.setAttribute("role", "img");
  const side = make("div", view);
  const controls = make("div", side, { className: "controls" });
  const back = make("button", controls, { textContent: "◀", title: "previous frame (left arrow)" });
  const play = make("button", controls, { textContent: "Play", title: "play or pause (space)" });
  const forth = make("button", controls, { textContent: "▶", title: "next frame (right arrow)" });
  const speed = make("select", controls, { title: "frames per second" });
  for (const rate of [2, 5, 15, 30, 60])
    make("option", speed, { value: rate, textContent: `${rate} frames/s`, selected: rate === 15 });
  const facts = make("dl", side);
  const fact = (name) => (make("dt", facts, { textContent: name }), make("dd", facts));
  const shown = { step: fact("step"), action: fact("action"), reward: fact("reward"),
    total: fact("return so far"), episode: fact("episode") };
  const timeline = draw("svg", side, { viewBox: `0 0 ${SPAN} ${HIGH}`, preserveAspectRatio: "none",
    tabindex: 0, role: "slider", "aria-label": "timestep", "aria-valuemin": 0 });
  const scale = make("div", side, { className: "scale" });
  const strip = make("div", player, { className: "strip" });

  let episode, images, at = 0, timer = 0, now;

  const at_step = (t) => {  // the last frame that is shown at or before timestep t
    let low = 0, high = episode.steps.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (episode.steps[middle] <= t) low = middle; else high = middle - 1;
    }
    return low;
  };
  const position = (t) => (SPAN * t) / Math.max(1, episode.length);

  const paint = (canvas, index) => {
    const sheet = images[Math.floor(index / episode.sheet)], within = index % episode.sheet;
    if (!sheet.complete) return sheet.addEventListener("load", () => paint(canvas, index), { once: true });
    if (canvas === screen && index !== at) return;
    const columns = Math.min(episode.columns, episode.steps.length);
    const count = Math.min(episode.sheet, episode.steps.length - index + within);
    const w = sheet.naturalWidth / Math.min(columns, count);
    const h = sheet.naturalHeight / Math.ceil(count / episode.columns);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(sheet, w * (within % episode.columns), h * Math.floor(within / episode.columns),
      w, h, 0, 0, canvas.width, canvas.height);
  };

  const show = (index) => {
    at = Math.max(0, Math.min(index, episode.steps.length - 1));
    const t = episode.steps[at], before = at ? episode.steps[at - 1] : -1;
    const sum = (from, to) => episode.rewards.reduce((s, [x, r]) => s + (x > from && x <= to ? r : 0), 0);
    const last = t === episode.length;
    shown.step.textContent = `${number(t)} of ${number(episode.length)}`;
    shown.action.textContent = last ? `none: ${episode.end}` : actions[episode.actions[at]];
    shown.reward.textContent = number(sum(before, t));
    shown.total.textContent = `${number(sum(-1, t))} of ${number(episode.total)}`;
    shown.episode.textContent = `${episode.name}, of env ${episode.env}`;
    screen.setAttribute("aria-label", `frame ${t} of ${episode.length}`);
    timeline.setAttribute("aria-valuenow", t);
    for (const x of ["x1", "x2"]) now.setAttribute(x, position(t));
    paint(screen, at);
  };

  const pause = () => { clearInterval(timer); timer = 0; play.textContent = "Play"; };
  const start = () => {
    if (at === episode.steps.length - 1) show(0);
    play.textContent = "Pause";
    timer = setInterval(() => {
      show(at + 1);
      if (at === episode.steps.length - 1) pause();
    }, 1000 / Number(speed.value));
  };
  const toggle = () => (timer ? pause() : start());

  const open = (index) => {
    pause();
    episode = episodes[index];
    images = episode.sheets.map((url) => Object.assign(new Image(), { src: url }));
    [...chooser.children].forEach((x, i) => x.setAttribute("aria-pressed", i === index));
    timeline.replaceChildren();
    timeline.setAttribute("aria-valuemax", episode.length);
    const line = (name, x, y1, y2) => draw("line", timeline, { class: name, x1: x, x2: x, y1, y2 });
    draw("line", timeline, { x1: 0, x2: SPAN, y1: HIGH / 2, y2: HIGH / 2 });
    const largest = Math.max(...episode.rewards.map(([, r]) => Math.abs(r)), 1e-9);
    for (const [t, r] of episode.rewards)
      line(r > 0 ? "gain" : "loss", position(t), HIGH / 2, HIGH * (0.5 - (0.42 * r) / largest));
    for (const t of episode.lost) line("lost", position(t), 92, 92);
    if (episode.end !== "unfinished") line(`end ${episode.end}`, SPAN, 0, HIGH);
    now = line("now", 0, 0, HIGH);
    scale.replaceChildren();
    for (const text of ["0", largest > 1e-9 ? `bars up to ±${number(largest)}` : "no reward", number(episode.length)])
      make("span", scale, { textContent: text });
    strip.replaceChildren();
    const count = Math.min(THUMBNAILS, episode.steps.length);
    for (let i = 0; i < count; i++) {
      const frame = Math.round((i * (episode.steps.length - 1)) / Math.max(1, count - 1));
      const button = make("button", strip, { title: `step ${episode.steps[frame]}` });
      const canvas = make("canvas", button, { width, height });
      make("span", button, { textContent: number(episode.steps[frame]) });
      button.addEventListener("click", () => { pause(); show(frame); });
      paint(canvas, frame);
    }
    show(0);
  };

  const seek = (event) => {
    const box = timeline.getBoundingClientRect();
    pause();
    show(at_step(Math.round((episode.length * (event.clientX - box.left)) / box.width)));
  };
  timeline.addEventListener("pointerdown", (event) => { timeline.setPointerCapture(event.pointerId); seek(event); });
  timeline.addEventListener("pointermove", (event) => { if (event.buttons) seek(event); });
  back.addEventListener("click", () => { pause(); show(at - 1); });
  forth.addEventListener("click", () => { pause(); show(at + 1); });
  play.addEventListener("click", toggle);
  speed.addEventListener("change", () => { if (timer) { pause(); start(); } });
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const keys = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 };
    if (event.key in keys) { pause(); show(at + keys[event.key]); event.preventDefault(); }
    if (event.key === " " && !event.target.closest("button")) { toggle(); event.preventDefault(); }
  });

  episodes.forEach((x, i) => {
    const text = `${x.name}: return ${number(x.total)}, ${number(x.length)} steps, ${x.end}`;
    make("button", chooser, { textContent: text }).addEventListener("click", () => open(i));
  });
  open(0);
})();
