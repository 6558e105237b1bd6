"""Pipeline: the streams of a world in parts, one acted in while the emulators of others work."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from envs.interface import Step, join
from envs.stream import Stream


class Pipeline:
    """Streams one after the other, as one; the loop sends to and receives from each ``part``."""

    def __init__(self, parts: Sequence[Stream]) -> None:
        self.parts = list(parts)
        self.env, self.device = parts[0].env, parts[0].device
        self.spec = replace(parts[0].spec, num_envs=sum(part.spec.num_envs for part in parts))

    def reset(self, number: int = 0) -> Step:
        """Start every stream anew and say the first step; each ``number`` has seeds of its own."""
        return join([part.reset(number) for part in self.parts])

    def step(self, action: Int64[Tensor, " N"]) -> Step:
        """One tick of every stream."""
        sizes = [part.spec.num_envs for part in self.parts]
        for part, actions in zip(self.parts, torch.split(action, sizes), strict=True):
            part.send(actions)
        return join([part.receive() for part in self.parts])

    def close(self) -> None:
        """Free the emulators."""
        for part in self.parts:
            part.close()

    def state_dict(self) -> dict[str, Any]:
        """That of one stream of all: it says nothing of the parts."""
        states = [part.state_dict() for part in self.parts]
        ticks = max(len(state["log"]) for state in states)
        for state in states:  # the logs' ends are aligned
            log = state["log"]
            state["log"] = torch.cat([log.new_zeros(ticks - len(log), log.shape[1]), log])
        return {
            name: torch.cat([x[name] for x in states], int(name == "log")) for name in states[0]
        }

    def load_state_dict(
        self, state: dict[str, Any], progress: Callable[[int, int], None] = lambda done, of: None
    ) -> UInt8[Tensor, "N K H W"]:
        """Play the logged actions again; what the streams look like then."""
        seen, begin = [], 0
        for part in self.parts:
            end = begin + part.spec.num_envs
            own = {name: x[begin:end] for name, x in state.items() if name != "log"}
            ticks = int(own["length"].max())
            own["log"] = state["log"][len(state["log"]) - ticks :, begin:end]
            seen.append(part.load_state_dict(own, progress))
            begin = end
        return torch.cat(seen)
