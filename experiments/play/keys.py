"""Keys as in an emulator: which action the held ones ask for."""

from collections.abc import Sequence

PARTS = {
    "ArrowUp": "up",
    "ArrowDown": "down",
    "ArrowLeft": "left",
    "ArrowRight": "right",
    "Space": "fire",
}
"""What each key contributes to an action's name, as ALE composes them: "uprightfire"."""
IDLE = ("noop", "stay")
"""Names of actions that do nothing."""
OPPOSITE = {"up": "down", "down": "up", "left": "right", "right": "left"}


class Keyboard:
    """The keys of a world whose actions have these names; unnamed ones have digits from 1."""

    def __init__(self, names: Sequence[str]) -> None:
        self.parts = [frozenset(part for part in PARTS.values() if part in name) for name in names]
        self.idle = next((i for i, name in enumerate(names) if name in IDLE), None)
        used = frozenset[str]().union(*self.parts)
        self.digits = {} if used else {f"Digit{i + 1}": i for i in range(min(len(names), 9))}
        self.keys = [key for key, part in PARTS.items() if part in used] or list(self.digits)
        """Keys that mean something here, in the order in which they are shown."""

    def action(self, held: Sequence[str]) -> int | None:
        """The action of the held keys, oldest first; None where the world waits for a key.

        Of opposite arrows the newer counts. Where no action is all that is asked for, it is the one
        that does most of it and nothing else, the newest key first.
        """
        wanted: list[str] = []
        for key in held:
            if key in self.digits:
                return self.digits[key]
            if key in PARTS:
                opposite = OPPOSITE.get(PARTS[key], "")
                wanted = [part for part in wanted if part != opposite] + [PARTS[key]]
        best, most = self.idle, (0, -1)
        for action, parts in enumerate(self.parts):
            if parts and parts <= set(wanted):
                newest = max(wanted.index(part) for part in parts)
                if (len(parts), newest) > most:
                    best, most = action, (len(parts), newest)
        return best
