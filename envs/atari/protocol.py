"""AtariProtocol: all settings that fix the meaning of a score, printed beside it.

Published Atari comparisons mix at least five protocols; the named ones are those of the papers we
compare with (Blundell et al. 2016; Mnih et al. 2015; Machado et al. 2018; Kaiser et al. 2020; and
the exploration phase of Ecoffet et al. 2021, without chance).
"""

from dataclasses import dataclass, fields, replace

from ..checks import at_least, check, within
from ..errors import UsageError


@dataclass(frozen=True)
class AtariProtocol:
    """Settings of the emulator, of observations and of evaluation; rewards are always raw.

    Raises UsageError for a setting out of its range, and for a stack of color frames.
    """

    name: str
    """Name of the protocol that the settings come from."""
    sticky: float = 0.0
    """Probability, at every frame, that the emulator repeats the previous action."""
    noops: int = 30
    """An episode starts with 0 to noops-1 no-op frames."""
    fire_reset: bool = False
    """Press FIRE at the start of every life, if it is an action of the game: for one frame when an
    episode starts, and in place of the agent's action at the timestep after a lost life."""
    full_actions: bool = False
    """Use all 18 actions instead of the minimal set of the game."""
    life_loss: bool = False
    """Set the discount to 0 when a life is lost; the episode continues."""
    frames_cap: int = 108_000
    """Frames after which an episode is truncated."""
    skip: int = 4
    """Frames per agent step, in which the action is repeated."""
    maxpool: bool = True
    """Observe the pixel-wise maximum of the last two frames."""
    stack: int = 4
    """Frames per observation."""
    height: int = 84
    """Rows of an observation, to which the screen is scaled."""
    width: int = 84
    """Columns of an observation, to which the screen is scaled."""
    grayscale: bool = True
    """Observe gray frames; color frames need a stack of 1."""
    eval_epsilon: float = 0.001
    """Probability of a random action in evaluation."""

    def __post_init__(self) -> None:
        check(self, "protocol", at_least(1), "skip", "stack", "height", "width", "frames_cap")
        check(self, "protocol", at_least(0), "noops")
        check(self, "protocol", within(0, 1), "sticky", "eval_epsilon")
        if not self.grayscale and self.stack != 1:
            raise UsageError(
                f"protocol.stack is {self.stack}; color frames need --env.protocol.stack 1."
            )

    @property
    def scoring_rules(self) -> "AtariProtocol":
        """This protocol with the presentation of the named one; scores of equal rules compare."""
        named = PROTOCOLS.get(self.name, self)
        return replace(self, **{name: getattr(named, name) for name in PRESENTATION_FIELDS})

    @property
    def label(self) -> str:
        """The name, and the settings that differ from the protocol of that name."""
        named = PROTOCOLS.get(self.name)
        if named is None or named == self:
            return self.name
        changed = [
            f"{field.name} {getattr(self, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(named, field.name)
        ]
        return f"{self.name} with {', '.join(changed)}"


PRESENTATION_FIELDS = ("life_loss", "maxpool", "stack", "height", "width", "grayscale")
"""Fields of observations and learning, not of the game. Scores of protocols that differ only in
these may be compared."""

PROTOCOLS: dict[str, AtariProtocol] = {
    "mfec": AtariProtocol("mfec", stack=1, eval_epsilon=0.005),
    "nature": AtariProtocol("nature", fire_reset=True, life_loss=True, eval_epsilon=0.05),
    "machado": AtariProtocol("machado", sticky=0.25, noops=0, full_actions=True),
    "atari100k": AtariProtocol("atari100k", life_loss=True),
    "deterministic": AtariProtocol(
        "deterministic", noops=0, full_actions=True, life_loss=True, maxpool=False, stack=1,
        height=210, width=160, eval_epsilon=0.0,
    ),
}  # fmt: skip
"""The named protocols."""
