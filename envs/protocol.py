"""AtariProtocol: everything that fixes what a score means, as one value printed beside it.

Published Atari comparisons mix at least five of these; the four named ones are those of the papers
we compare with (Blundell et al. 2016; Mnih et al. 2015; Machado et al. 2018; Kaiser et al. 2020).
"""

from dataclasses import dataclass, fields, replace

from envs.checks import at_least, check, within
from envs.errors import UsageError


@dataclass(frozen=True)
class AtariProtocol:
    """How a game is presented, and how an agent is evaluated on it; rewards are always raw."""

    name: str
    sticky: float = 0.0
    """Probability, at every frame, that the emulator repeats the action before."""
    noops: int = 30
    """An episode starts after 0 to noops-1 idle frames."""
    fire_reset: bool = False
    """Press FIRE once when an episode starts, where the game has that button."""
    full_actions: bool = False
    """All 18 actions instead of the game's minimal set."""
    life_loss: bool = False
    """A lost life has discount 0 (the episode goes on)."""
    frames_cap: int = 108_000
    """Frames after which an episode is timed out."""
    skip: int = 4
    """Frames an action is held: one agent step."""
    maxpool: bool = True
    """Show the pixel-wise maximum of the last two frames."""
    stack: int = 4
    """Frames in an observation."""
    height: int = 84
    width: int = 84
    grey: bool = True
    eval_epsilon: float = 0.001
    """Probability of a random action in evaluation."""

    def __post_init__(self) -> None:
        check(self, "protocol", at_least(1), "skip", "stack", "height", "width", "frames_cap")
        check(self, "protocol", at_least(0), "noops")
        check(self, "protocol", within(0, 1), "sticky", "eval_epsilon")
        if not self.grey and self.stack != 1:
            raise UsageError(f"protocol.stack is {self.stack}; colour frames come with stack 1.")

    @property
    def scoring(self) -> "AtariProtocol":
        """The protocol of this name, in all that scores depend on: whatever the agent is shown."""
        named = PROTOCOLS.get(self.name, self)
        return replace(self, **{name: getattr(named, name) for name in SHOWN})

    @property
    def label(self) -> str:
        """The name, and what differs from the protocol of that name."""
        named = PROTOCOLS.get(self.name)
        if named is None or named == self:
            return self.name
        changed = [
            f"{field.name} {getattr(self, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(named, field.name)
        ]
        return f"{self.name} with {', '.join(changed)}"


SHOWN = ("life_loss", "maxpool", "stack", "height", "width", "grey")
"""What an agent sees, and is told of lives as it learns; no rule of the game. Scores of protocols
that differ in it alone may be compared."""

PROTOCOLS: dict[str, AtariProtocol] = {
    "mfec": AtariProtocol("mfec", stack=1, eval_epsilon=0.005),
    "nature": AtariProtocol("nature", fire_reset=True, life_loss=True, eval_epsilon=0.05),
    "machado": AtariProtocol("machado", sticky=0.25, noops=0, full_actions=True),
    "atari100k": AtariProtocol("atari100k", life_loss=True),
}
"""The named protocols."""
