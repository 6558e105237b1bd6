"""A session of play: the game, the policy that acts in it, and the view of both.

It has no threads, clocks or sockets: a server calls ``step`` and passes it the page's commands.
"""

import math
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import torch

from ...envs import prng
from .context import AdjustableInspector, StepContext
from .dream import Dream
from .history import Entry, History
from .inspectors import build_inspectors
from .keys import Keyboard
from .panels import Images, Picture, View, pack, pack_view
from .setup import PlaySetup
from .video import VideoWriter

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
        self.inspectors = build_inspectors(*setup.parts)
        self.mode: Mode = "dream" if self.dream and not self.inspectors else "watch"
        self.playing, self.manual = True, False
        self.stochastic, self.agent_sees_dream = False, False
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
            self.carry["rng"] = prng.initial_rng(seed, "eval", 1).to(self.carry["rng"].device)
        if self.dream:
            self.dream.reset(self.game.time_step)
        self._act()
        self._update_view()

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
        }

    def step(self) -> bool:
        """Take one agent step; return False if manual control waits for a key."""
        action = self.context.action
        if self.manual:
            requested = self.keyboard.action(self.held_keys)
            if requested is None and not bool(self.game.time_step.last[0]):
                return False
            action = requested or 0  # any action after a last step begins the next episode
        self._take_step(action)
        return True

    @property
    def running(self) -> bool:
        """Whether the game is to be stepped."""
        return self.playing and self.sought_timestep is None

    def message(self, since: int = -1) -> bytes:
        """Encode the shown timestep, and the events after timestep ``since``."""
        entry = self.history.entries[-1]
        if self.sought_timestep is not None:
            entry = self.history.at(self.sought_timestep)
        state = {
            **entry.state,
            "timestep": entry.timestep,
            "newest": self.timestep,
            "oldest": self.history.oldest,
            "live": self.sought_timestep is None,
            "playing": self.playing,
            "manual": self.manual,
            "stochastic": self.stochastic,
            "agentSeesDream": self.agent_sees_dream,
            "mode": self.mode,
            "speed": self.speed,
            "maxHorizon": self.max_horizon,
            "recordedFrames": self.video.length if self.video else None,
            "recordingResult": self.recording_result,
            "ignoredMessages": self.ignored_messages,
            "events": self.history.events_since(since),
        }
        return pack(state, entry.packed_view)

    def refresh(self) -> None:
        """Recompute the current timestep's action and view after a setting has changed."""
        self._act()
        self._update_view()

    def set_slider(self, name: str, value: float | None) -> None:
        """Set a slider of the inspectors."""
        for inspector in self.inspectors:
            if isinstance(inspector, AdjustableInspector):
                inspector.set_slider(name, value)

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
        elif not recording and self.video is not None:
            self.video.close()
            length = self.video.length
            self.recording_result = str(self.video.path) if length else "no frame was played"
            self.video = None

    def close(self) -> None:
        """Finish the video, and close the game."""
        self.set_recording(False)
        self.game.close()

    def caption(self) -> str:
        """Return a line about the shown timestep, for a video."""
        imagined = ""
        if self.dream and self.mode == "dream":
            imagined = f"   {self.dream.horizon} steps imagined"
        player = "manual" if self.manual else self.setup.player
        action = self.game.action_names[self.last_action]
        return f"{self.game.env_name}   {player}   {action}   score {self.game.score:g}{imagined}"

    def _take_step(self, action: int) -> None:
        next_carry = self.context.next_carry
        if "action" in next_carry:  # a planner must get the action taken, also a manual one
            next_carry = next_carry | {"action": torch.full_like(next_carry["action"], action)}
        self.carry = next_carry
        step = self.game.step(action)
        self.timestep, self.last_action = self.timestep + 1, action
        if self.dream:
            if self.mode == "dream":
                self.dream.step(action, step)
                if self.max_horizon and self.dream.horizon >= self.max_horizon:
                    self.dream.resync()
            else:
                self.dream.observe(action, step)
        self._act()
        self._update_view()
        if self.video:
            try:
                self.video.add(self.view, self.caption())
            except OSError as error:
                self.recording_result, self.video = f"failed: {error}", None

    @torch.no_grad()
    def _act(self) -> None:
        """Compute the policy's action for the current timestep."""
        step = self.game.time_step
        if self.dream and self.agent_sees_dream and self.mode == "dream":
            step = self.dream.imagined_step(step)
        action, next_carry = self.setup.policy.act(step, self.carry, explore=self.stochastic)
        self.context = StepContext(
            self.timestep, step, self.carry, int(action[0]), next_carry, self.game.action_names
        )

    @torch.no_grad()
    def _update_view(self) -> None:
        """Build the view of the current timestep, and add it to the history."""
        inspections = [inspector.inspect(self.context) for inspector in self.inspectors]
        panels = [panel for inspection in inspections for panel in inspection.panels]
        values = (x.value for x in inspections if x.value is not None and math.isfinite(x.value))
        value = next(values, None)
        if self.dream and self.mode == "dream":
            main, panels = self.dream.images(), [*self.dream.panels(), *panels]
        else:
            main = Images("Game", (Picture(self.game.screen(), "game"),))
        self.view = View(main, tuple(panels))
        step = self.game.time_step
        state = {
            "lastAction": self.game.action_names[self.last_action] if self.last_action >= 0 else "",
            "score": self.game.score,
            "length": self.game.length,
            "horizon": self.dream.horizon if self.dream and self.mode == "dream" else 0,
        }
        reward, last = float(step.reward[0]), bool(step.last[0])
        packed_view = pack_view(self.view)
        self.history.add(Entry(self.timestep, state, packed_view, reward, value, last))
