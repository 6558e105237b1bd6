"""A session of play: the game, the policy that acts in it, and the view of both.

It has no threads, clocks or sockets: a server calls ``step`` and passes it the page's commands.
"""

import math
from collections.abc import Callable
from datetime import datetime
from functools import reduce
from pathlib import Path
from typing import Any, Literal

import torch

from ...agents.interface import ActOutput
from ...envs import prng
from ..evaluation.box_drawings import draw_boxes
from ..evaluation.video import VideoWriter
from ..inspectors.bonus_inspectors import DensityBonusInspector, PretrainedDensityInspector
from ..inspectors.context import AdjustableInspector, StepContext
from ..inspectors.dream import Dream
from ..inspectors.frame_completion import FrameCompletion
from ..inspectors.inspectors import build_inspectors
from ..inspectors.learned_parts import parts_of, untrained_reason
from ..inspectors.panels import Picture, View
from .encoding import pack, pack_view
from .film import render_view
from .history import Entry, Event, History
from .keys import Keyboard
from .setup import PlaySetup

SPEEDS = (1, 2, 5, 10, 15, 30, 60, 120)
"""Agent steps per second."""
REAL_TIME = 15
"""The speed of an Atari console with four frames per agent step."""
Mode = Literal["watch", "dream"]


class Session:
    """The state of a page: what is played, by which policy, and how fast."""

    def __init__(
        self, setup: PlaySetup, *, seed: int = 0, video_folder: Path = Path("videos")
    ) -> None:
        self.setup, self.game, self.video_folder = setup, setup.game, video_folder
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
        self.video: VideoWriter | None = None
        self.recording_result = ""
        """The path of the last recording, or why there is none."""
        self.history = History()
        self.carry = setup.policy.initial(1)
        if "rng" in self.carry:
            self.carry["rng"] = prng.initial_rng(seed, prng.Purpose.EVAL, 1).to(
                self.carry["rng"].device
            )
        if self.dream:
            self.dream.reset(self.game.time_step)
        self.context = self._act()
        self.view = self._inspect()

    def info(self) -> dict[str, Any]:
        """Return what the page needs once, when it connects."""
        return {
            "run": self.setup.run,
            "env": self.game.env_name,
            "protocol": self.game.protocol,
            "player": self.setup.player,
            "actions": self.game.action_names,
            "keys": self.keyboard.keys,
            "speeds": SPEEDS,
            "noDreamReason": self.setup.no_dream_reason,
            "erasable": bool(self.erasable),
            "boxes": self.has_boxes,
        }

    def step(self) -> bool:
        """Take one agent step; return False if manual control waits for a key."""
        action = self.context.action
        if self.manual:
            requested = self.keyboard.action(self.held_keys)
            if requested is None and not bool(self.game.time_step.last[0]):
                return False
            action = requested or 0  # any action after a last step begins the next episode
        taken = torch.tensor([action], device=self.game.envs.device)
        self.carry = ActOutput(taken, self.context.next_carry).with_action(taken).carry
        step = self.game.step(action)
        self.timestep, self.last_action = self.timestep + 1, action
        if dream := self.active_dream:
            dream.step(action, step)
            if self.max_horizon and dream.horizon >= self.max_horizon:
                dream.resync()
        elif self.dream:
            self.dream.observe(action, step)
        self.refresh()
        if self.video:
            self.video.add(render_view(self.view, self.caption()))
        return True

    @property
    def active_dream(self) -> Dream | None:
        """The dream in dream mode, which is shown and predicts every step."""
        return self.dream if self.mode == "dream" else None

    @property
    def running(self) -> bool:
        """Whether the game is to be stepped."""
        return self.playing and self.sought_timestep is None

    def message(self, since: int = -1) -> bytes:
        """Encode the shown timestep, and the events after timestep ``since``."""
        sought = self.sought_timestep
        entry = self.history.at(self.timestep if sought is None else sought)
        state = {
            **entry.state,
            "timestep": entry.event.timestep,
            "newest": self.timestep,
            "oldest": self.history.oldest,
            "live": sought is None,
            "playing": self.playing,
            "manual": self.manual,
            "stochastic": self.stochastic,
            "showBoxes": self.show_boxes,
            "agentSeesDream": self.agent_sees_dream,
            "mode": self.mode,
            "speed": self.speed,
            "maxHorizon": self.max_horizon,
            "recordedFrames": self.video.length if self.video else None,
            "recordingResult": self.recording_result,
            "ignoredMessages": self.ignored_messages,
            "erased": sum(frame.num_erased for frame in self.erasable),
            "events": self.history.events_since(since),
        }
        return pack(state, entry.packed_view)

    def refresh(self) -> None:
        """Recompute the current timestep's action and view, as after a setting has changed."""
        self.context = self._act()
        self.view = self._inspect()

    def set_mode(self, mode: Mode) -> None:
        """Show the game or the dream, which starts from the newest observation."""
        if self.mode != mode:
            self.mode, self.sought_timestep = mode, None
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
        self.game.reset()
        self.carry = self.context.next_carry
        self.timestep, self.last_action = self.timestep + 1, -1
        if self.dream:
            self.dream.reset(self.game.time_step)
        self.refresh()

    def set_recording(self, recording: bool) -> None:
        """Start a video, or finish the one that is being recorded."""
        if recording and self.video is None:
            timestamp = datetime.now().strftime("%Y%m%d-%H%M%S")
            path = self.video_folder / f"{self.mode}-{timestamp}.mp4"
            self.video, self.recording_result = VideoWriter(path, self.speed), ""
            self.video.add(render_view(self.view, self.caption()))
        elif not recording and self.video is not None:
            video, self.video = self.video, None
            try:
                video.close()
                self.recording_result = str(video.path)
            except OSError as error:
                self.recording_result = f"failed: {error}"

    def close(self) -> None:
        """Finish the video, and close the game."""
        self.set_recording(False)
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
            timestep=self.timestep,
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
        step = self.game.time_step
        state = {
            "lastAction": self.game.action_names[self.last_action] if self.last_action >= 0 else "",
            "score": self.game.score,
            "length": self.game.length,
            "horizon": dream.horizon if dream else 0,
        }
        reward, last = float(step.reward[0]), bool(step.last[0])
        event = Event(self.timestep, reward, value, last, self.game.life_lost)
        self.history.add(Entry(event, state, pack_view(view)))
        return view
