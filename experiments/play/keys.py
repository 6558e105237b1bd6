"""Keyboard control: the action that the held keys stand for."""

from collections.abc import Sequence
from typing import Any

KEY_ACTIONS = {
    "ArrowUp": "up",
    "ArrowDown": "down",
    "ArrowLeft": "left",
    "ArrowRight": "right",
    "Space": "fire",
}
"""The part of an action's name that each key stands for; ALE joins them, as in "uprightfire"."""
NOOP_NAMES = ("noop", "stay")
"""Names of actions that do nothing."""
OPPOSITE = {"up": "down", "down": "up", "left": "right", "right": "left"}


class Keyboard:
    """The key bindings of an env, from its action names; other names get the digits from 1."""

    def __init__(self, action_names: Sequence[str]) -> None:
        self.action_parts = [
            frozenset(part for part in KEY_ACTIONS.values() if part in name)
            for name in action_names
        ]
        self.noop = next((i for i, name in enumerate(action_names) if name in NOOP_NAMES), None)
        used = frozenset[str]().union(*self.action_parts)
        count = 0 if used else len(action_names)
        self.digits = {f"Digit{i + 1}": i for i in range(count)}
        """Keyboards have those until 9; the others are on the page alone."""
        self.keys = [key for key, part in KEY_ACTIONS.items() if part in used] or list(self.digits)
        """Keys that are bound in this env, in the order in which the page shows them."""
        self.pad = self._pad() or [[action_names[i], [key]] for key, i in self.digits.items()]
        """The buttons of a pad: the part of an action's name or the action, and the keys held."""

    def _pad(self) -> list[list[Any]]:
        """Return the directions that the actions have, also diagonal ones, and then fire."""
        keys = {part: key for key, part in KEY_ACTIONS.items()}
        found = {parts - {"fire"} for parts in self.action_parts}
        directions = [(up, side) for up in ("up", "", "down") for side in ("left", "", "right")]
        pad = [
            ["".join(parts), [keys[part] for part in parts if part]]
            for parts in directions
            if any(parts) and {*filter(None, parts)} in found
        ]
        fires = any("fire" in parts for parts in self.action_parts)
        return [*pad, ["fire", ["Space"]]] if fires else pad

    def action(self, held_keys: Sequence[str]) -> int | None:
        """Return the action of the held keys (oldest first), or None to wait for a key.

        Of two opposite arrows the newer counts. If no action combines all held keys, the action
        that combines most of them without adding another is chosen, ties by the newest key.
        """
        requested: list[str] = []
        for key in held_keys:
            if key in self.digits:
                return self.digits[key]
            if key in KEY_ACTIONS:
                opposite = OPPOSITE.get(KEY_ACTIONS[key], "")
                requested = [part for part in requested if part != opposite] + [KEY_ACTIONS[key]]
        best, best_rank = self.noop, (0, -1)
        for action, parts in enumerate(self.action_parts):
            if parts and parts <= set(requested):
                newest = max(requested.index(part) for part in parts)
                if (len(parts), newest) > best_rank:
                    best, best_rank = action, (len(parts), newest)
        return best
