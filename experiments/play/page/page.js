// The page of `reverie play`: what the session says is shown, what a person wants is sent.

import { element, gallery, showPanels } from "./panels.js";
import { Timeline } from "./timeline.js";

const get = (id) => document.getElementById(id);
const SHOWN = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Space: "space" };
const LIMITS = [0, 10, 30, 50, 100, 300];
const socket = new WebSocket(`ws://${location.host}/play`);
socket.binaryType = "arraybuffer";

let about = {};
let now = { playing: true };
let held = [];
const wanted = {}; // settings that the session has not confirmed yet
const times = []; // when frames were shown, within a second
const wish = (word, fields = {}) => {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ do: word, ...fields }));
};
const timeline = new Timeline(get("timeline"), (tick) => wish("scrub", { to: tick }));
window.reverie = { frames: 0, drawn: null }; // what a test asks

let turn = Promise.resolve(); // frames are shown in their order
socket.addEventListener("message", ({ data }) => {
  if (typeof data === "string") hello(JSON.parse(data));
  else turn = turn.then(() => show(data));
});
socket.addEventListener("close", ({ code }) => {
  get("curtain").textContent = code === 4001
    ? "This run was opened on another page." : "The play has ended.";
  get("curtain").hidden = false;
});

function hello(said) {
  about = said;
  document.body.classList.remove("waiting");
  document.title = `${said.world} · reverie play`;
  get("about").textContent = `${said.run}  ·  ${said.world}, protocol ${said.protocol}`;
  get("agent").textContent = said.player;
  get("dream").disabled = Boolean(said.noDream);
  get("dream").title = said.noDream;
  get("said").textContent = said.noDream;
  get("speed").replaceChildren(...said.speeds.map((speed) =>
    element("option", { value: speed }, speed === 15 ? "15/s, real time" : `${speed}/s`)));
  get("limit").replaceChildren(...LIMITS.map((limit) =>
    element("option", { value: limit }, limit ? `${limit} steps` : "never")));
  get("keys").replaceChildren(...said.keys.map((key) =>
    element("kbd", { "data-key": key }, SHOWN[key] || key.replace("Digit", ""))));
}

/** A message: the length of a JSON text, the text, twice; then the pictures' PNGs. */
async function show(data) {
  const bytes = new DataView(data), decode = (from, length) =>
    JSON.parse(new TextDecoder().decode(new Uint8Array(data, from, length)));
  const first = bytes.getUint32(0, true), second = bytes.getUint32(4 + first, true);
  now = decode(4, first);
  const panels = decode(8 + first, second), blobs = 8 + first + second;
  const pictures = panels.flatMap((panel) => panel.pictures || []);
  await Promise.all(pictures.map(async (picture) => {
    const png = new Uint8Array(data, blobs + picture.at[0], picture.at[1]);
    picture.bitmap = await createImageBitmap(new Blob([png], { type: "image/png" }));
  }));
  const [stage, ...insides] = panels;
  document.body.classList.toggle("dream", now.mode === "dream");
  gallery(get("stage"), stage.pictures);
  showPanels(get("cards"), insides, (name, to) => wish("slide", { name, to }));
  for (const picture of pictures) picture.bitmap.close();
  timeline.show(now);
  showState();
  window.reverie.frames += 1;
  window.reverie.drawn = now;
  window.reverie.onshow?.(now);
  wish("shown");
}

function showState() {
  const time = performance.now();
  times.push(time);
  while (times[0] < time - 1000) times.shift();
  get("rate").textContent = now.playing && now.live ? times.length : 0;
  get("score").textContent = now.score.toLocaleString("en");
  get("length").textContent = now.length;
  get("horizon").textContent = now.horizon;
  get("pause").textContent = now.playing && now.live ? "Pause" : "Play";
  for (const mode of ["watch", "dream"]) {
    get(mode).setAttribute("aria-selected", now.mode === mode);
  }
  get("agent").setAttribute("aria-pressed", !now.byHand);
  get("hand").setAttribute("aria-pressed", now.byHand);
  get("live").setAttribute("aria-pressed", now.live);
  for (const [name, field] of [["explores", "checked"], ["dreams", "checked"], ["speed", "value"],
    ["limit", "value"]]) {
    // What was chosen a moment ago stands until the session has heard of it.
    if (wanted[name] === now[name]) delete wanted[name];
    if (!(name in wanted) && document.activeElement !== get(name)) get(name)[field] = now[name];
  }
  get("record").textContent = now.filming === null ? "Record" : `Stop (${now.filming})`;
  get("record").classList.toggle("on", now.filming !== null);
  const notes = [`${now.byHand ? "You" : about.player} did: ${now.did || "nothing yet"}`];
  if (!now.live) notes.push(`looking back at step ${now.tick} of ${now.newest}`);
  if (now.filmed) notes.push(`recorded: ${now.filmed}`);
  if (now.ignored) notes.push(`${now.ignored} messages ignored`);
  if (about.noDream) notes.push(about.noDream);
  get("said").textContent = notes.join("  ·  ");
}

const clicks = {
  pause: () => wish("play", { on: !(now.playing && now.live) }),
  step: () => wish("step"),
  new: () => wish("new"),
  resync: () => wish("resync"),
  live: () => wish("live"),
  record: () => wish("record", { on: now.filming === null }),
  agent: () => wish("hand", { on: false }),
  hand: () => wish("hand", { on: true }),
  watch: () => wish("mode", { to: "watch" }),
  dream: () => wish("mode", { to: "dream" }),
};
for (const [id, act] of Object.entries(clicks)) {
  get(id).addEventListener("click", () => {
    act();
    get(id).blur(); // so that space is the game's again
  });
}
for (const id of ["speed", "limit"]) {
  get(id).addEventListener("change", () => {
    wanted[id] = Number(get(id).value);
    wish(id, { to: wanted[id] });
    get(id).blur();
  });
}
for (const id of ["explores", "dreams"]) {
  get(id).addEventListener("change", () => {
    wanted[id] = get(id).checked;
    wish(id === "explores" ? "explore" : id, { on: wanted[id] });
    get(id).blur();
  });
}

const SHORT = { KeyP: "pause", KeyN: "step", KeyR: "resync" };
function setHeld(keys) {
  held = keys;
  for (const cap of get("keys").children) {
    cap.classList.toggle("held", held.includes(cap.dataset.key));
  }
  wish("keys", { held });
}
window.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=range], select")) return;
  if (about.keys?.includes(event.code)) {
    event.preventDefault();
    if (!held.includes(event.code)) setHeld([...held, event.code]);
  } else if (event.code === "KeyH") wish("hand", { on: !now.byHand });
  else if (SHORT[event.code]) clicks[SHORT[event.code]]();
});
window.addEventListener("keyup", ({ code }) => {
  if (held.includes(code)) setHeld(held.filter((key) => key !== code));
});
window.addEventListener("blur", () => held.length && setHeld([]));
