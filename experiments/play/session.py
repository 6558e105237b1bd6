"""A session of play: the game, the policy that acts in it, and the view of both.

It has no threads, clocks or sockets: a server calls ``step`` and passes it the page's commands.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import reduce
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch

from ...agents.interface import ActOutput
from ..evaluation.box_drawings import draw_boxes
from ..inspectors.bonus_inspectors import DensityBonusInspector, PretrainedDensityInspector
from ..inspectors.context import AdjustableInspector, StepContext
from ..inspectors.dream import Dream
from ..inspectors.frame_completion import FrameCompletion
from ..inspectors.inspectors import build_inspectors
from ..inspectors.learned_parts import parts_of, untrained_reason
from ..inspectors.panels import Picture, View
from .encoding import pack, pack_view
from .history import Entry, Event, History
from .keys import Keyboard
from .setup import PlaySetup

SPEEDS = (1, 2, 5, 10, 15, 30, 60, 120)
"""Agent steps per second."""
REAL_TIME = 15
"""The speed of an Atari console with four frames per agent step."""
Mode = Literal["watch", "dream"]


class Session:
    """What one policy plays, how fast, and what is shown of it."""

    def __init__(self, setup: PlaySetup) -> None:
        self.setup, self.game = setup, setup.game
        self.keyboard = Keyboard(self.game.action_names)
        self.dream = Dream(setup.predictor) if setup.predictor else None
        self.inspectors = list(build_inspectors(*setup.parts))
        density_inspectors = DensityBonusInspector | PretrainedDensityInspector
        completions = (x.completion for x in self.inspectors if isinstance(x, density_inspectors))
        self.erasable = [x for x in completions if not x.no_completion_reason]
        """Frames that the user can erase pixels of."""
        learners = () if setup.imported else (*setup.parts, setup.predictor)
        self.untrained = [*parts_of(*learners)]
        """The parts that have not learned anything yet."""
        self.mode: Mode = "dream" if self.dream and not self.inspectors else "watch"
        self.playing, self.manual = True, False
        self.stochastic, self.agent_sees_dream = False, False
        self.show_boxes, self.has_boxes = True, False
        self.speed, self.max_horizon = REAL_TIME, 0
        self.held_keys: tuple[str, ...] = ()
        self.sought_timestep: int | None = None
        """The timestep of the history that is shown; None shows the newest."""
        self.ignored_messages, self.timestep, self.last_action = 0, 0, -1
        self.num_waits = 0
        """Timesteps at which the game did not move."""
        self.returns: list[float] = []
        """Scores of the episodes that the policy has played alone and from their start."""
        self.alone = True
        """Whether the present episode is such a one."""
        self.history = History()
        self.carry = self.game.seeded(setup.policy.initial(1))
        if self.dream:
            self.dream.reset(self.game.time_step)
        self.context = self._act()
        self.view = self._inspect()

    def info(self) -> dict[str, Any]:
        """Return what the page needs once, when it connects."""
        return {
            "run": Path(self.setup.run).name or Path.cwd().name,
            "env": self.game.env_name,
            "protocol": self.game.protocol,
            "player": self.setup.player,
            "seed": self.game.seed,
            "actions": self.game.action_names,
            "keys": self.keyboard.keys,
            "pad": self.keyboard.pad,
            "predictor": self.dream is not None,
            "noDreamReason": self.setup.no_dream_reason,
            "erasable": bool(self.erasable),
            "boxes": self.has_boxes,
        }

    def next_action(self) -> int | None:
        """Return the action of the next step, or None if manual control waits for a key."""
        if not self.manual:
            return self.context.action
        requested = self.keyboard.action(self.held_keys)
        # Any action after a last step begins the next episode.
        return 0 if requested is None and self.game.last else requested

    def step(self) -> bool:
        """Take one agent step; return False if manual control waits for a key."""
        action = self.next_action()
        if action is None:
            return False
        if self.game.last:
            self.reset()
            return True
        taken = torch.tensor([action], device=self.game.envs.device)
        self.carry = ActOutput(taken, self.context.next_carry).with_action(taken).carry
        step = self.game.step(action)
        self.timestep, self.last_action = self.timestep + 1, action
        self.alone = self.alone and not self.manual
        if bool(step.last[0]) and self.alone:
            self.returns.append(self.game.score)
        if dream := self.active_dream:
            dream.step(action, step)
            if self.max_horizon and dream.horizon >= self.max_horizon:
                dream.resync()
        elif self.dream:
            self.dream.observe(action, step)
        self.refresh()
        return True

    def wait(self) -> None:
        """Let a timestep pass at which the game does not move."""
        self.timestep, self.num_waits = self.timestep + 1, self.num_waits + 1
        newest = self.history.entries[-1]
        event = Event(self.timestep, 0.0, newest.event.value, False)
        state = newest.state | {"waiting": True}
        self.history.add(replace(newest, event=event, state=state))

    @property
    def active_dream(self) -> Dream | None:
        """The dream in dream mode, which is shown and predicts every step."""
        return self.dream if self.mode == "dream" else None

    @property
    def running(self) -> bool:
        """Whether the game is to be stepped."""
        return self.playing and self.sought_timestep is None

    @property
    def shown_timestep(self) -> int:
        """The timestep on the page."""
        return self.timestep if self.sought_timestep is None else self.sought_timestep

    def message(self, since: int = -1, **common: Any) -> bytes:
        """Encode the shown timestep, and the events after timestep ``since``.

        ``common`` is what the state holds of all that is on the page.
        """
        entry = self.history.at(self.shown_timestep)
        state = {
            **entry.state,
            "timestep": entry.event.timestep,
            "newest": self.timestep,
            "oldest": self.history.oldest,
            "live": self.sought_timestep is None,
            "playing": self.playing,
            "manual": self.manual,
            "stochastic": self.stochastic,
            "showBoxes": self.show_boxes,
            "agentSeesDream": self.agent_sees_dream,
            "mode": self.mode,
            "speed": self.speed,
            "maxHorizon": self.max_horizon,
            "ignoredMessages": self.ignored_messages,
            "erased": sum(frame.num_erased for frame in self.erasable),
            "events": self.history.events_since(since),
            **common,
        }
        return pack(state, entry.packed_view)

    def refresh(self) -> None:
        """Recompute the current timestep's action and view, as after a setting has changed."""
        self.context = self._act()
        self.view = self._inspect()

    def set_mode(self, mode: Mode) -> None:
        """Show the game or the dream, which starts from the shown observation."""
        if self.mode != mode:
            self.mode = mode
            self.go_on()
            self.resync()

    def resync(self) -> None:
        """Restart the dream from the newest observation."""
        if self.dream:
            self.dream.resync()
        self.refresh()

    def set_slider(self, name: str, value: float | None) -> None:
        """Set a slider of the inspectors."""
        for inspector in self.inspectors:
            if isinstance(inspector, AdjustableInspector):
                inspector.set_slider(name, value)
        self.refresh()

    def change_erased(self, change: Callable[[FrameCompletion], None]) -> None:
        """Change which pixels are erased of the newest frame and of those after it."""
        for frame in self.erasable:
            change(frame)
        self.sought_timestep = None
        self.refresh()

    def reset(self) -> None:
        """Begin a new episode of the game."""
        step = self.game.reset()
        self.carry, self.alone = self.game.seeded(self.context.next_carry), True
        self.timestep, self.last_action = self.timestep + 1, -1
        if self.dream:
            self.dream.reset(step)
        self.refresh()

    def go_on(self) -> None:
        """Go on from the shown timestep: its episode is replayed until there from its actions.

        What follows is added to the history, which is kept.
        """
        if self.sought_timestep is None:
            return
        entry = self.history.at(self.sought_timestep)
        actions = entry.actions[: entry.state["length"]]
        step = self.game.reset(entry.episode)
        if self.dream:
            self.dream.reset(step)
        for action in actions:
            step = self.game.step(action)
            if self.dream:
                self.dream.observe(action, step)
        self.carry, self.alone = entry.carry, False
        self.timestep, self.last_action = self.timestep + 1, actions[-1] if actions else -1
        self.sought_timestep = None
        self.refresh()

    def close(self) -> None:
        """Close the game."""
        self.game.close()

    def caption(self) -> str:
        """Return a line about the shown timestep, for a video."""
        dream = self.active_dream
        imagined = f"   {dream.horizon} steps imagined" if dream else ""
        player = "manual" if self.manual else self.setup.player
        action = self.game.action_names[self.last_action] if self.last_action >= 0 else "start"
        return f"{self.game.env_name}   {player}   {action}   score {self.game.score:g}{imagined}"

    @torch.no_grad()
    def _act(self) -> StepContext:
        """Let the policy act on the current timestep."""
        step = self.game.time_step
        if self.agent_sees_dream and (dream := self.active_dream):
            step = dream.imagined_step(step)
        output = self.setup.policy.act(step, self.carry, explore=self.stochastic)
        return StepContext(
            timestep=self.timestep - self.num_waits,
            step=step,
            carry=self.carry,
            action=int(output.action[0]),
            next_carry=output.carry,
            extras=output.extras,
            action_names=self.game.action_names,
        )

    @torch.no_grad()
    def _inspect(self) -> View:
        """Build the view of the current timestep, and add it to the history."""
        inspections = [inspector.inspect(self.context) for inspector in self.inspectors]
        panels = [panel for inspection in inspections for panel in inspection.panels]
        values = (x.value for x in inspections if x.value is not None and math.isfinite(x.value))
        value = next(values, None)
        boxes = [x.boxes for x in inspections if x.boxes is not None]
        if dream := self.active_dream:
            pictures, panels = dream.pictures(), [*dream.panels(), *panels]
        else:
            observation = self.game.observation()
            drawn = boxes if self.show_boxes and self.game.screen_is_observed else []
            pictures = (Picture(reduce(draw_boxes, drawn, self.game.screen()), "game"),)
            panels = [observation, *panels] if observation else panels
        self.has_boxes = bool(boxes)
        self.untrained = [part for part in self.untrained if untrained_reason(part)]
        reasons = dict.fromkeys(map(untrained_reason, self.untrained))  # in order, each once
        view = View(pictures, tuple(panels), tuple(reasons))
        step, game = self.game.time_step, self.game
        state = {
            "lastAction": game.action_names[self.last_action] if self.last_action >= 0 else "",
            "score": game.score,
            "length": game.length,
            "episode": game.episode,
            "horizon": dream.horizon if dream else 0,
            "dreamed": dream is not None,
            "numReturns": len(self.returns),
            "meanReturn": fmean(self.returns) if self.returns else 0.0,
            "waiting": False,
        }
        event = Event(self.timestep, float(step.reward[0]), value, game.last, game.life_lost)
        packed = pack_view(view)
        self.history.add(Entry(event, state, packed, self.carry, game.episode, game.actions))
        return view
