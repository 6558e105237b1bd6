// The commands of the page: each has a button, most have a key. The help lists them from here.

/** Groups of commands: [id of the button, its key, help, where it is: a class of the body]. */
export const COMMANDS = [
  ["Play", [
    ["pause", "P", "pause or play"],
    ["step", "N", "pause, and take one step"],
    ["new-episode", "E", "begin a new episode", "game"],
    ["agent", "", "let the agent play", "game"],
    ["manual", "H", "play yourself, or let the agent play", "game"],
    ["record", "V", "start or stop recording a video", "game"],
  ]],
  ["Time", [
    ["back", ",", "one timestep back"],
    ["forward", ".", "one timestep forward"],
    ["live", "L", "go to the newest timestep"],
    ["go-on", "G", "go on from the shown timestep, as the game was there", "game"],
  ]],
  ["Models", [
    ["watch", "W", "watch the agent", "dreaming"],
    ["dream", "D", "watch the dream of the predictor, from the shown timestep on", "dreaming"],
    ["resync", "R", "restart the dream from the emulator", "dreaming"],
    ["erase-lower-half", "B", "erase the lower half of the frame, for the density to fill in", "erasable"],
    ["restore", "X", "restore the erased pixels", "erasable"],
  ]],
  ["Page", [
    ["share", "S", "save the last timesteps as a file, which another player opens", "game"],
    ["open", "O", "open the file of a moment"],
    ["close-moment", "C", "close the moment", "closable"],
    ["theme", "T", "light or dark colors"],
    ["help", "?", "this help"],
  ]],
];

/**
 * Connect buttons and keys with `actions` by id. Returns the function that a key calls, if any, by
 * the key in upper case.
 */
export function connect(actions) {
  const keys = {};
  for (const [id, key, help] of COMMANDS.flatMap(([, rows]) => rows)) {
    const button = document.getElementById(id), action = actions[id];
    const press = () => button?.disabled || (button && !button.offsetParent) || action();
    if (key) keys[key] = press;
    button?.addEventListener("click", (event) => {
      action();
      if (event.detail) button.blur(); // after a click the space key controls the game again
    });
    if (!button || !key) continue;
    button.title = `${help} (${key})`;
    button.setAttribute("aria-keyshortcuts", key);
  }
  return keys;
}

/** Return the rows of the help: [group, [[key, help]]] of what this run has. */
export function helpRows(gameKeys) {
  const { classList } = document.body;
  const groups = COMMANDS.map(([group, rows]) => [group, rows
    .filter(([, key, , where]) => key && (!where || classList.contains(where)))
    .map(([, key, help]) => [key, help])]);
  if (gameKeys) groups[0][1].push([gameKeys, "the game's actions while you play"]);
  return groups.filter(([, rows]) => rows.length);
}
