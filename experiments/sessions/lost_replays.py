"""Runs whose replay is lost: with ``--resume without-replay`` they continue with an empty one.

A replay is what an agent learns from; its weights, its optimizers, its counters and the tables that
its policy is computed from are other parts of a checkpoint, without which no run continues.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...envs.errors import UsageError
from ..runs.checkpoints import Checkpoints, NoWholeCheckpoint
from ..runs.packed_state import BLOCKS_KEY, DamagedCheckpoint, Packed, State, sizes_of_blocks

REPLAY = "replay"
"""Name of a replay buffer in the state of an agent, and of a part of it."""
WITHOUT_REPLAY = "without-replay"
FLAG = f"--resume {WITHOUT_REPLAY}"


def load_state(checkpoints: Checkpoints, *, without_replay: bool) -> tuple[State | None, bool]:
    """Load the newest whole checkpoint, and return whether its replay was lost and left out.

    A replay is left out only if no checkpoint is whole. Raises UsageError, which offers
    ``--resume without-replay`` where it helps, if there are checkpoints and none can be loaded.
    """
    try:
        state = checkpoints.load()
    except NoWholeCheckpoint as error:
        step, other = find_without_replay(checkpoints)
        if step is None:
            also = f" {FLAG} does not help: {other} is lost too." if without_replay else ""
            raise UsageError(f"{error}{also}") from error
        if not without_replay:
            raise UsageError(
                f"{error} Of the checkpoint of step {step:,} the replay alone is lost: add {FLAG} "
                "to the command of `reverie train` to continue from it with an empty replay, which "
                "is no exact continuation."
            ) from error
        checkpoints.replaced = error.steps
        return checkpoints.load(without_replays), True
    if without_replay and state is not None:
        print(
            f"The replay in {checkpoints.folder} is whole, so that {FLAG} has no effect; the run "
            "continues exactly.",
            file=sys.stderr,
        )
    return state, False


def loss_text(folder: Path, position: str) -> str:
    """Return the sentences that a run continues without its replay."""
    return (
        f"The replay of {folder} is lost. The run continues at {position} with an empty one, so "
        "from here on it is not exact; its provenance, later scores and reports say so."
    )


def find_without_replay(checkpoints: Checkpoints) -> tuple[int | None, str]:
    """Return the newest step of which the replay alone is lost, and else what else is lost.

    What is lost is a path in the state of the newest checkpoint, or the checkpoint itself.
    """
    other = ""
    for step in reversed(checkpoints.steps()):
        try:
            packed = checkpoints.read_packed(step)
        except (DamagedCheckpoint, OSError, UsageError):
            other = other or str(checkpoints.path(step))
            continue
        sizes = sizes_of_blocks(packed)
        damaged = checkpoints.blocks.damaged(sizes)
        lost = checkpoints.blocks.restore({name: sizes[name] for name in damaged}, packed.groups)
        checkpoints.blocks.restored.clear()
        if lacks_replay_alone(packed, lost):
            return step, ""
        other = other or next(_paths_with(without_replays(packed.state), lost), "")
    return None, other


def lacks_replay_alone(packed: Packed, lost: set[str]) -> bool:
    """Return whether blocks are lost that a checkpoint needs, all of them of replays."""
    needed = {name for name, size in sizes_of_blocks(packed).items() if size is not None}
    others = sizes_of_blocks(packed._replace(state=without_replays(packed.state), groups=[]))
    return bool(lost & needed) and not lost & others.keys()


def without_replays(state: State) -> State:
    """Return a run's state without the replay buffers of its agent."""
    return state | {"agent": _without(state["agent"])} if "agent" in state else state


def _without(state: Any) -> Any:
    if not isinstance(state, dict):
        return state
    return {name: _without(value) for name, value in state.items() if name != REPLAY}


def _paths_with(state: Any, lost: set[str], path: str = "") -> Iterator[str]:
    """Yield the dotted paths of the tensors of which blocks are lost."""
    if isinstance(state, dict) and BLOCKS_KEY in state:
        if lost & {*state[BLOCKS_KEY]}:
            yield path
        return
    items = state.items() if isinstance(state, dict) else ()
    for name, value in [*items, *(enumerate(state) if isinstance(state, list | tuple) else ())]:
        yield from _paths_with(value, lost, f"{path}.{name}" if path else str(name))
