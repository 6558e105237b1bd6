"""Keyboard control: the action that the held keys stand for."""

from collections.abc import Sequence

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
        num_digits = min(len(action_names), 9)
        self.digits = {} if used else {f"Digit{i + 1}": i for i in range(num_digits)}
        self.keys = [key for key, part in KEY_ACTIONS.items() if part in used] or list(self.digits)
        """Keys that are bound in this env, in the order in which the page shows them."""

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
