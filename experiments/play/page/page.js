// The page of `reverie play`: renders the messages of the player, and sends commands to it.

import { connect, helpRows } from "./commands.js";
import { acceptDrops, open, save } from "./files.js";
import { Pad } from "./pad.js";
import { decodeImages, element, setText } from "./panels.js";
import { Player } from "./player.js";

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

let info = { players: [] };
let state = { playing: true };
let players = [];
let fileResult = ""; // of the last file that was saved or opened
let unshown = ""; // why the newest message is not on the page
const pending = {}; // settings that the session has not confirmed yet
const frameTimes = []; // of the last second, in milliseconds
const send = (command, fields = {}) => {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ command, ...fields }));
};
const seek = (timestep) => send("seek", { value: players[0].timeline.within(timestep) });
const pad = new Pad(get("pad"), (keys) => send("set_keys", { value: keys }));
window.reverie = { frames: 0, state: null, states: [] }; // read by tests and by `reverie bench`

let rendering = Promise.resolve(); // messages are rendered in order
socket.addEventListener("message", ({ data }) => {
  const show = typeof data === "string" ? () => showInfo(JSON.parse(data)) : () => render(data);
  rendering = rendering.then(show);
});
socket.addEventListener("close", ({ code }) => {
  get("connecting").hidden = true;
  get("disconnected").textContent = code === 4001
    ? "This run was opened on another page. Reload this page to show it here."
    : "The session has ended. Start reverie play again, and open the address that it prints.";
  get("disconnected").hidden = false;
});

function showInfo(message) {
  info = message;
  const [first] = info.players, two = info.players.length > 1, { classList } = document.body;
  document.title = `${first.env} · reverie play`;
  setText(get("env"), first.env);
  setText(get("protocol"), `protocol ${first.protocol}, seed ${first.seed}`);
  for (const player of players) player.remove();
  players = info.players.map((player, i) => new Player(player, {
    name: two ? `${"AB"[i]} · ${player.player}` : player.player,
    two,
    send: (command, fields) => send(command, { ...fields, player: i }),
    seek,
  }));
  const noDream = info.players.map((player) => player.noDreamReason).find(Boolean) ?? "";
  get("dream").disabled = Boolean(noDream);
  const flags = {
    two, game: !info.moment, moment: info.moment, closable: info.closable,
    dreaming: !info.moment && !noDream, erasable: info.players.some((player) => player.erasable),
    boxes: info.players.some((player) => player.boxes),
  };
  for (const [name, on] of Object.entries(flags)) classList.toggle(name, on);
  get("dream").title = noDream || get("dream").title;
  // The game moves: where reduced motion is asked for, it waits for Play.
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) send("set_playing", { value: false });
  for (const [id, values] of [["speed", info.speeds], ["max-horizon", MAX_HORIZONS]]) {
    get(id).replaceChildren(...values.map((value) => option(id, value)));
  }
  pad.show(first.pad);
  setText(get("live"), info.moment ? "End" : "Live");
  get("connecting").hidden = true;
  get("controls").hidden = document.querySelector("footer").hidden = false;
  setText(get("help-dream"), noDream);
}

/** Return an option of a selection by its id. */
function option(id, value) {
  const texts = {
    speed: value === 15 ? "15/s, real time" : `${value}/s`,
    "max-horizon": value ? `${value} steps` : "unlimited",
  };
  return element("option", { value }, texts[id]);
}

/** Add an option for a value that the command line has set, in order, unless there is one. */
function complete(select, value) {
  const next = [...select.options].find((x) => Number(x.value) >= value) ?? null;
  if (next?.value !== String(value)) select.insertBefore(option(select.id, value), next);
}

/** Render a message of all players: JSON with states, and views whose images are PNG in base64. */
async function render(data) {
  const message = JSON.parse(new TextDecoder().decode(data));
  state = message.players[0].state;
  document.body.classList.toggle("dream", message.players.some((x) => x.state.dreamed));
  let images = [];
  unshown = "";
  try {
    images = await Promise.all(message.players.map((x) => decodeImages(x.view)));
  } catch (error) { // a picture in a stranger's file may be damaged
    unshown = `timestep ${state.timestep} cannot be shown: ${error.message}`;
  }
  // What is compared is drawn at once, so that both are at the same timestep.
  message.players.forEach((shown, i) => {
    if (!unshown) players[i].showView(shown.view);
    players[i].showState(shown.state);
  });
  for (const { bitmap } of images.flat()) bitmap.close();
  showState();
  window.reverie.frames += 1;
  window.reverie.states = message.players.map((x) => x.state);
  window.reverie.state = state;
  window.reverie.onFrame?.(state);
  send("frame_shown");
}

function showState() {
  const time = performance.now();
  frameTimes.push(time);
  while (frameTimes[0] < time - 1000) frameTimes.shift();
  const running = state.playing && state.live, { classList } = document.body;
  setText(get("pause"), running ? "Pause" : "Play");
  for (const mode of ["watch", "dream"]) {
    get(mode).setAttribute("aria-pressed", state.mode === mode);
  }
  get("agent").setAttribute("aria-pressed", !state.manual);
  get("manual").setAttribute("aria-pressed", state.manual);
  get("live").setAttribute("aria-pressed", state.live);
  get("pad").hidden = !state.manual;
  get("restore").disabled = !state.erased;
  classList.toggle("past", !state.live && !info.moment);
  setText(get("past-text"), `Timestep ${state.timestep} of ${state.newest}`);
  for (const [key, [id, property]] of Object.entries(SETTINGS)) {
    if (!(key in state)) continue;
    // A change is displayed until the session has confirmed it.
    if (pending[key] === state[key]) delete pending[key];
    if (property === "value") complete(get(id), state[key]);
    if (!(key in pending) && document.activeElement !== get(id)) get(id)[property] = state[key];
  }
  const recording = state.recordedFrames !== null;
  setText(get("record"), recording ? `Stop (${state.recordedFrames})` : "Record");
  get("record").classList.toggle("recording", recording);
  setText(get("rate"), running ? `${frameTimes.length} frames/s` : "paused"); // not announced
  const notes = [];
  if (unshown) notes.push(unshown);
  if (fileResult) notes.push(fileResult);
  if (state.recordingResult) notes.push(`recording: ${state.recordingResult}`);
  if (state.ignoredMessages) notes.push(`${state.ignoredMessages} messages ignored`);
  setText(get("status"), notes.map((note) => `· ${note}`).join(" "));
  showHint();
}

/** What is on the page, in a few sentences: [kind, parts], of which arrays are keys. */
function explanation() {
  const names = players.map((player) => player.name), [first] = info.players;
  const touch = matchMedia("(pointer: coarse)").matches;
  const play = touch ? ["Tap You play for a pad, and ", ["?"], " for help."]
    : ["Press ", ["H"], " to play yourself, ", ["P"], " to pause, ", ["?"], " for all keys."];
  if (info.moment) {
    return ["moment", [`A saved moment: ${names.join(" and ")} in ${first.env}, recorded with its panels. Drag `
      + "the timeline, or press ", ["P"], "."]];
  }
  if (names.length > 1) {
    return ["two", [`${names[0]} (${first.run}) and ${names[1]} (${info.players[1].run}) play the same episodes of `
      + `${first.env}, with the same chance. Whoever ends one first waits for the other. The cards show what `
      + "each agent computes. ", ...play]];
  }
  if (state.dreamed) {
    return ["dream", [`The predictor imagines ${first.env}: it is given the actions alone, and its frames are `
      + "shown beside the emulator's, with the error of each pixel. ", ["R"], " starts again from the emulator, ",
    ["W"], " returns to the agent. ", ...play]];
  }
  return ["watch", [`${names[0]} plays ${first.env}. The large picture is the game; the cards show what the agent `
    + "computes at each timestep, the chosen action highlighted; the timeline goes back in time. ", ...play]];
}

function showHint() {
  const [kind, parts] = explanation(), key = `hint-${kind}`;
  get("hint").hidden = localStorage[key] === "closed";
  if (get("hint").dataset.kind === kind) return;
  get("hint").dataset.kind = kind;
  get("hint").firstElementChild.replaceChildren(...explained(parts));
}

function explained(parts) {
  return parts.map((part) => (Array.isArray(part) ? element("kbd", {}, part[0]) : part));
}

function showHelp() {
  get("help-text").replaceChildren(...explained(explanation()[1]));
  const keys = (info.players[0]?.keys ?? []).filter((key) => key in KEY_LABELS || /^Digit[1-9]$/.test(key));
  const rows = helpRows(keys.map((key) => KEY_LABELS[key] || key.replace("Digit", "")).join(" "));
  get("shortcuts").replaceChildren(...rows.flatMap(([group, commands]) => [
    element("tr", {}, element("th", { colspan: 2, scope: "colgroup" }, group)),
    ...commands.map(([key, help]) => element("tr", {},
      element("td", {}, element("kbd", {}, key)), element("td", {}, help))),
  ]));
  get("help-dialog").showModal();
  get("help-dialog").scrollTop = 0; // the focus is on the button at its end
}

async function openFile(file) {
  fileResult = await open(file) || "";
  if (fileResult) showState();
}

function toggleTheme() {
  const root = document.documentElement;
  const dark = getComputedStyle(root).colorScheme === "dark"
    || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  localStorage.theme = root.dataset.theme = dark ? "light" : "dark";
  resetColors();
}
function resetColors() {
  for (const player of players) player.timeline.resetColors();
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", resetColors);

const shortcuts = connect({
  pause: () => send("set_playing", { value: !(state.playing && state.live) }),
  step: () => send("step"),
  "new-episode": () => send("new_episode"),
  agent: () => send("set_manual", { value: false }),
  manual: () => send("set_manual", { value: !state.manual }),
  record: () => send("set_recording", { value: state.recordedFrames === null }),
  back: () => seek(state.timestep - 1),
  forward: () => seek(state.timestep + 1),
  live: () => send("go_live"),
  "go-on": () => send("go_on"),
  watch: () => send("set_mode", { value: "watch" }),
  dream: () => send("set_mode", { value: "dream" }),
  resync: () => send("resync"),
  "erase-lower-half": () => send("erase_lower_half"),
  restore: () => send("restore"),
  share: async () => { fileResult = await save(); showState(); },
  open: () => get("file").click(),
  "close-moment": () => send("close_moment"),
  theme: toggleTheme,
  help: showHelp,
});
get("hint-close").addEventListener("click", () => {
  localStorage[`hint-${get("hint").dataset.kind}`] = "closed";
  get("hint").hidden = true;
});
get("file").addEventListener("change", () => {
  if (get("file").files[0]) openFile(get("file").files[0]);
  get("file").value = "";
});
acceptDrops(get("drop"), openFile);

for (const [key, [id, property, command]] of Object.entries(SETTINGS)) {
  get(id).addEventListener("change", () => {
    pending[key] = property === "value" ? Number(get(id).value) : get(id).checked;
    send(command, { value: pending[key] });
  });
}

window.addEventListener("keydown", (event) => {
  const { code, key, target } = event, shortcut = shortcuts[key.toUpperCase()];
  if (event.ctrlKey || event.metaKey || event.altKey || get("help-dialog").open) return;
  if (target.matches("input[type=range], select, .timeline") && !shortcut) return;
  if (code === "Space" && target.matches("button, input")) return; // presses the focused control
  if (info.players[0]?.keys.includes(code)) {
    event.preventDefault();
    pad.hold(code, [code]);
  } else if (!event.repeat || ",.".includes(key)) shortcut?.();
});
window.addEventListener("keyup", ({ code }) => pad.release(code));
window.addEventListener("blur", () => pad.releaseAll());
