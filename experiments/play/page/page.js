// The page of `reverie play`: renders the session's messages, and sends commands to it.

import { element, showPanels, updateFigures } from "./panels.js";
import { Timeline } from "./timeline.js";

const get = (id) => document.getElementById(id);
const KEY_LABELS = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→", Space: "space" };
const MAX_HORIZONS = [0, 10, 30, 50, 100, 300];
// Settings by their key in the state: element, its property, and the command that changes it.
const SETTINGS = {
  stochastic: ["stochastic", "checked", "set_stochastic"],
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
const timeline = new Timeline(get("timeline"), (timestep) => send("seek", { value: timestep }));
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
  get("status").textContent = info.noDreamReason;
  get("speed").replaceChildren(...info.speeds.map((speed) =>
    element("option", { value: speed }, speed === 15 ? "15/s, real time" : `${speed}/s`)));
  get("max-horizon").replaceChildren(...MAX_HORIZONS.map((horizon) =>
    element("option", { value: horizon }, horizon ? `${horizon} steps` : "unlimited")));
  get("keys").replaceChildren(...info.keys.map((key) =>
    element("kbd", { "data-key": key }, KEY_LABELS[key] || key.replace("Digit", ""))));
}

/** Render a message: JSON with the state, and with the panels, whose images are PNG in base64. */
async function render(data) {
  const message = JSON.parse(new TextDecoder().decode(data));
  const [mainView, ...panels] = message.panels;
  state = message.state;
  const pictures = message.panels.flatMap((panel) => panel.pictures || []);
  await Promise.all(pictures.map(async (picture) => {
    const png = Uint8Array.from(atob(picture.image.png), (character) => character.charCodeAt(0));
    picture.bitmap = await createImageBitmap(new Blob([png], { type: "image/png" }));
  }));
  document.body.classList.toggle("dream", state.mode === "dream");
  updateFigures(get("main-view"), mainView.pictures);
  showPanels(get("panels"), panels, (name, value) => send("set_slider", { name, value }));
  for (const picture of pictures) picture.bitmap.close();
  timeline.update(state);
  showState();
  window.reverie.frames += 1;
  window.reverie.state = state;
  window.reverie.onFrame?.(state);
  send("frame_shown");
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
    get(mode).setAttribute("aria-selected", state.mode === mode);
  }
  get("agent").setAttribute("aria-pressed", !state.manual);
  get("manual").setAttribute("aria-pressed", state.manual);
  get("live").setAttribute("aria-pressed", state.live);
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
  get("status").textContent = notes.join("  ·  ");
}

const BUTTONS = {
  pause: () => send("set_playing", { value: !(state.playing && state.live) }),
  step: () => send("step"),
  "new-episode": () => send("new_episode"),
  resync: () => send("resync"),
  live: () => send("go_live"),
  record: () => send("set_recording", { value: state.recordedFrames === null }),
  agent: () => send("set_manual", { value: false }),
  manual: () => send("set_manual", { value: true }),
  watch: () => send("set_mode", { value: "watch" }),
  dream: () => send("set_mode", { value: "dream" }),
};
for (const [id, onClick] of Object.entries(BUTTONS)) {
  get(id).addEventListener("click", () => {
    onClick();
    get(id).blur(); // so that the space key controls the game, not the button
  });
}
for (const [key, [id, property, command]] of Object.entries(SETTINGS)) {
  get(id).addEventListener("change", () => {
    pending[key] = property === "value" ? Number(get(id).value) : get(id).checked;
    send(command, { value: pending[key] });
    get(id).blur();
  });
}

const SHORTCUTS = { KeyP: "pause", KeyN: "step", KeyR: "resync" };
function setHeldKeys(keys) {
  heldKeys = keys;
  for (const keyLabel of get("keys").children) {
    keyLabel.classList.toggle("held", heldKeys.includes(keyLabel.dataset.key));
  }
  send("set_keys", { value: heldKeys });
}
window.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=range], select")) return;
  if (info.keys?.includes(event.code)) {
    event.preventDefault();
    if (!heldKeys.includes(event.code)) setHeldKeys([...heldKeys, event.code]);
  } else if (event.code === "KeyH") send("set_manual", { value: !state.manual });
  else if (SHORTCUTS[event.code]) BUTTONS[SHORTCUTS[event.code]]();
});
window.addEventListener("keyup", ({ code }) => {
  if (heldKeys.includes(code)) setHeldKeys(heldKeys.filter((key) => key !== code));
});
window.addEventListener("blur", () => heldKeys.length && setHeldKeys([]));
