// The page of `reverie play`: renders the session's messages, and sends commands to it.

import { decodeImages, element, fitPictures, showPanels, showPictures } from "./panels.js";
import { eraseWithPointer } from "./strokes.js";
import { Timeline } from "./timeline.js";

const get = (id) => document.getElementById(id);
const KEY_LABELS = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Space: "space" };
const MAX_HORIZONS = [0, 10, 30, 50, 100, 300];
// Settings by their key in the state: element, its property, and the command that changes it.
const SETTINGS = {
  stochastic: ["stochastic", "checked", "set_stochastic"],
  showBoxes: ["show-boxes", "checked", "set_show_boxes"],
  agentSeesDream: ["agent-sees-dream", "checked", "set_agent_sees_dream"],
  speed: ["speed", "value", "set_speed"],
  maxHorizon: ["max-horizon", "value", "set_max_horizon"],
};

const socket = new WebSocket(`ws://${location.host}/play`);
socket.binaryType = "arraybuffer";

let info = {};
let state = { playing: true };
let heldKeys = [];
const pending = {}; // settings that the session has not confirmed yet
const frameTimes = []; // of the last second, in milliseconds
const send = (command, fields = {}) => {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ command, ...fields }));
};
const seek = (timestep) => send("seek", { value: timeline.within(timestep) });
const timeline = new Timeline(get("timeline"), get("legend"), seek);
const sendStroke = eraseWithPointer(get("panels"), (points) => send("erase", { value: points }));
new ResizeObserver(() => fitPictures(get("main-view"))).observe(get("main-view"));
window.reverie = { frames: 0, state: null }; // read by tests and by `reverie bench`

let rendering = Promise.resolve(); // frames are rendered in order
socket.addEventListener("message", ({ data }) => {
  if (typeof data === "string") showInfo(JSON.parse(data));
  else rendering = rendering.then(() => render(data));
});
socket.addEventListener("close", ({ code }) => {
  get("disconnected").textContent = code === 4001
    ? "This run was opened on another page." : "The session has ended.";
  get("disconnected").hidden = false;
});

function showInfo(message) {
  info = message;
  document.title = `${info.env} · reverie play`;
  get("run-info").textContent = `${info.run}  ·  ${info.env}, protocol ${info.protocol}`;
  get("agent").textContent = info.player;
  get("dream").disabled = Boolean(info.noDreamReason);
  get("dream").title = info.noDreamReason;
  document.body.classList.toggle("erasable", info.erasable);
  document.body.classList.toggle("boxes", info.boxes);
  get("status").textContent = info.noDreamReason;
  // The game moves: where reduced motion is asked for, it waits for Play.
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) send("set_playing", { value: false });
  get("speed").replaceChildren(...info.speeds.map((speed) =>
    element("option", { value: speed }, speed === 15 ? "15/s, real time" : `${speed}/s`)));
  get("max-horizon").replaceChildren(...MAX_HORIZONS.map((horizon) =>
    element("option", { value: horizon }, horizon ? `${horizon} steps` : "unlimited")));
  const labels = info.keys.map((key) => [key, KEY_LABELS[key] || key.replace("Digit", "")]);
  get("keys").replaceChildren(...labels.map(([key, label]) =>
    element("kbd", { "data-key": key }, label)));
  const rows = Object.entries(SHORTCUTS).map(([key, [, help]]) => [key, help]);
  if (labels.length) {
    rows.push([labels.map(([, label]) => label).join(" "), "actions under manual control"]);
  }
  get("shortcuts").replaceChildren(...rows.map(([key, help]) => element("tr", {},
    element("td", {}, element("kbd", {}, key)), element("td", {}, help))));
}

/** Render a message: JSON with the state, and with the view, whose images are PNG in base64. */
async function render(data) {
  const message = JSON.parse(new TextDecoder().decode(data)), { view } = message;
  state = message.state;
  const images = await decodeImages(view);
  document.body.classList.toggle("dream", state.mode === "dream");
  document.body.classList.toggle("untrained", view.untrained.length > 0);
  get("untrained").hidden = !view.untrained.length;
  setText(get("untrained").lastElementChild, view.untrained.join(" "));
  showPictures(get("main-view"), view.pictures);
  showPanels(get("panels"), view.panels, (name, value) => send("set_slider", { name, value }));
  for (const { bitmap } of images) bitmap.close();
  timeline.update(state);
  showState();
  window.reverie.frames += 1;
  window.reverie.state = state;
  window.reverie.onFrame?.(state);
  send("frame_shown");
  sendStroke();
}

/** Set a text only if it is new, so that screen readers announce changes alone. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function showState() {
  const time = performance.now();
  frameTimes.push(time);
  while (frameTimes[0] < time - 1000) frameTimes.shift();
  const running = state.playing && state.live;
  get("frame-rate").textContent = running ? frameTimes.length : 0;
  get("score").textContent = state.score.toLocaleString("en");
  get("length").textContent = state.length;
  get("horizon").textContent = state.horizon;
  get("pause").textContent = running ? "Pause" : "Play";
  for (const mode of ["watch", "dream"]) {
    get(mode).setAttribute("aria-pressed", state.mode === mode);
  }
  get("agent").setAttribute("aria-pressed", !state.manual);
  get("manual").setAttribute("aria-pressed", state.manual);
  get("live").setAttribute("aria-pressed", state.live);
  get("erase-lower-half").disabled = !info.erasable;
  get("restore").disabled = !state.erased;
  for (const [key, [id, property]] of Object.entries(SETTINGS)) {
    // A change is displayed until the session has confirmed it.
    if (pending[key] === state[key]) delete pending[key];
    if (!(key in pending) && document.activeElement !== get(id)) get(id)[property] = state[key];
  }
  const recording = state.recordedFrames !== null;
  get("record").textContent = recording ? `Stop (${state.recordedFrames})` : "Record";
  get("record").classList.toggle("recording", recording);
  const notes = [`${state.manual ? "Manual" : info.player} action: ${state.lastAction || "none"}`];
  if (!state.live) notes.push(`showing timestep ${state.timestep} of ${state.newest}`);
  if (state.recordingResult) notes.push(`recording: ${state.recordingResult}`);
  if (state.ignoredMessages) notes.push(`${state.ignoredMessages} messages ignored`);
  if (info.noDreamReason) notes.push(info.noDreamReason);
  setText(get("status"), notes.join("  ·  "));
}

// What a button does, its key, and the key's help.
const BUTTONS = {
  pause: [() => send("set_playing", { value: !(state.playing && state.live) }), "P", "pause or play"],
  step: [() => send("step"), "N", "pause, and take one step"],
  "new-episode": [() => send("new_episode"), "E", "begin a new episode"],
  record: [() => send("set_recording", { value: state.recordedFrames === null }), "V",
    "start or stop recording a video"],
  agent: [() => send("set_manual", { value: false })],
  manual: [() => send("set_manual", { value: !state.manual }), "H", "manual control, or the agent"],
  watch: [() => send("set_mode", { value: "watch" }), "W", "watch the agent"],
  dream: [() => send("set_mode", { value: "dream" }), "D", "watch the dream of the predictor"],
  "erase-lower-half": [() => send("erase_lower_half"), "B",
    "erase the lower half of the frame, for the density to fill in"],
  restore: [() => send("restore"), "X", "restore the erased pixels"],
  resync: [() => send("resync"), "R", "restart the dream from the emulator"],
  live: [() => send("go_live"), "L", "go to the newest timestep"],
  theme: [toggleTheme, "T", "light or dark colors"],
  help: [() => get("help-dialog").showModal(), "?", "this list"],
};
const SHORTCUTS = {
  ",": [() => seek(state.timestep - 1), "one timestep back"],
  ".": [() => seek(state.timestep + 1), "one timestep forward"],
};
for (const [id, [press, key, help]] of Object.entries(BUTTONS)) {
  get(id).addEventListener("click", (event) => {
    press();
    if (event.detail) get(id).blur(); // after a click the space key controls the game again
  });
  if (!key) continue;
  SHORTCUTS[key] = [() => get(id).disabled || press(), help];
  get(id).title ||= `${help} (${key})`;
  get(id).setAttribute("aria-keyshortcuts", key);
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = getComputedStyle(root).colorScheme === "dark"
    || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  localStorage.theme = root.dataset.theme = dark ? "light" : "dark";
  timeline.resetColors();
}
if (localStorage.theme) document.documentElement.dataset.theme = localStorage.theme;
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => timeline.resetColors());
timeline.resetColors();

for (const [key, [id, property, command]] of Object.entries(SETTINGS)) {
  get(id).addEventListener("change", () => {
    pending[key] = property === "value" ? Number(get(id).value) : get(id).checked;
    send(command, { value: pending[key] });
  });
}

function setHeldKeys(keys) {
  heldKeys = keys;
  for (const keyLabel of get("keys").children) {
    keyLabel.classList.toggle("held", heldKeys.includes(keyLabel.dataset.key));
  }
  send("set_keys", { value: heldKeys });
}
window.addEventListener("keydown", (event) => {
  const { code, key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || get("help-dialog").open) return;
  if (target.matches("input[type=range], select, #timeline") && !SHORTCUTS[key.toUpperCase()]) return;
  if (code === "Space" && target.matches("button, input")) return; // presses the focused control
  if (info.keys?.includes(code)) {
    event.preventDefault();
    if (!heldKeys.includes(code)) setHeldKeys([...heldKeys, code]);
  } else if (!event.repeat || ",.".includes(key)) SHORTCUTS[key.toUpperCase()]?.[0]();
});
window.addEventListener("keyup", ({ code }) => {
  if (heldKeys.includes(code)) setHeldKeys(heldKeys.filter((key) => key !== code));
});
window.addEventListener("blur", () => heldKeys.length && setHeldKeys([]));
