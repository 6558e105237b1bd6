"""A session of play: a world that ticks, who acts in it, and what is shown of both.

It knows nothing of threads, clocks or sockets. A server gives it messages and asks it to tick.
"""

import math
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import torch

from envs import dice
from experiments.play.cast import Cast
from experiments.play.dream import Dream
from experiments.play.film import Film
from experiments.play.history import Entry, History
from experiments.play.insides import insides_of
from experiments.play.keys import Keyboard
from experiments.play.moment import Adjustable, Moment
from experiments.play.panels import Images, Picture, View, pack, pack_view

SPEEDS = (1, 2, 5, 10, 15, 30, 60, 120)
"""Ticks a second; 15 is an Atari's own pace at four frames a tick."""
REAL_TIME = 15
Mode = Literal["watch", "dream"]


class Session:
    """What is played on a page, by whom, and how fast; ``tick`` is one agent step."""

    def __init__(self, cast: Cast, *, seed: int = 0, films: Path = Path("videos")) -> None:
        self.cast, self.game, self.films = cast, cast.game, films
        self.keyboard = Keyboard(self.game.names)
        self.dream = Dream(cast.predictor) if cast.predictor else None
        self.insides = insides_of(*cast.parts)
        self.mode: Mode = "dream" if self.dream and not self.insides else "watch"
        self.playing, self.by_hand, self.explores, self.dreams = True, False, False, False
        self.speed, self.limit = REAL_TIME, 0
        self.held: tuple[str, ...] = ()
        self.scrubbed: int | None = None
        self.ignored, self.ticks, self.done = 0, 0, -1
        self.film: Film | None = None
        self.filmed = ""
        self.history = History()
        self.memory = cast.policy.initial(1)
        if "dice" in self.memory:
            self.memory["dice"] = dice.keys(seed, "eval", 1).to(self.memory["dice"].device)
        if self.dream:
            self.dream.begin(self.game.step)
        self._think()
        self._show()

    def hello(self) -> dict[str, Any]:
        """What a page must know once."""
        return {
            "run": self.cast.run,
            "world": self.game.title,
            "protocol": self.game.protocol,
            "player": self.cast.player,
            "actions": self.game.names,
            "keys": self.keyboard.keys,
            "speeds": SPEEDS,
            "noDream": self.cast.why_no_dream,
        }

    def tick(self) -> bool:
        """One agent step; False where nothing moves, because a person has not pressed a key."""
        action = self.keyboard.action(self.held) if self.by_hand else self.now.action
        if action is None:
            if not bool(self.game.step.last[0]):
                return False
            action = 0  # on a last step any action begins the next episode
        self._tick(action)
        return True

    @property
    def ticking(self) -> bool:
        """Whether time passes."""
        return self.playing and self.scrubbed is None

    def message(self, since: int = -1) -> bytes:
        """What is to be shown now, and what has happened since the tick that was shown last."""
        entry = self.history.entries[-1]
        if self.scrubbed is not None:
            entry = self.history.at(self.scrubbed)
        about = {
            **entry.about,
            "tick": entry.tick,
            "newest": self.ticks,
            "oldest": self.history.oldest,
            "live": self.scrubbed is None,
            "playing": self.playing,
            "byHand": self.by_hand,
            "explores": self.explores,
            "dreams": self.dreams,
            "mode": self.mode,
            "speed": self.speed,
            "limit": self.limit,
            "filming": self.film.length if self.film else None,
            "filmed": self.filmed,
            "ignored": self.ignored,
            "events": self.history.events_since(since),
        }
        return pack(about, entry.body)

    def look_again(self) -> None:
        """Show the tick anew: something else than time has changed what there is to see."""
        self._think()
        self._show()

    def turn(self, name: str, value: float | None) -> None:
        """A slider was moved."""
        for inside in self.insides:
            if isinstance(inside, Adjustable):
                inside.turn(name, value)

    def begin(self) -> None:
        """A new episode of the game."""
        self.game.begin()
        self.memory = self.now.following
        self.ticks, self.done = self.ticks + 1, -1
        if self.dream:
            self.dream.begin(self.game.step)
        self.look_again()

    def record(self, on: bool) -> None:
        """Begin a film, or end the one that is being made."""
        if on and self.film is None:
            stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
            path = self.films / f"{self.mode}-{stamp}.mp4"
            self.film, self.filmed = Film(path, self.speed), ""
        elif not on and self.film is not None:
            self.film.close()
            self.filmed = str(self.film.path) if self.film.length else "nothing was played"
            self.film = None

    def close(self) -> None:
        """Finish the film, and free the emulator."""
        self.record(False)
        self.game.close()

    def _tick(self, action: int) -> None:
        following = self.now.following
        if "action" in following:  # a planner is told what was done, by whomever
            following = following | {"action": torch.full_like(following["action"], action)}
        self.memory = following
        step = self.game.tick(action)
        self.ticks, self.done = self.ticks + 1, action
        if self.dream:
            if self.mode == "dream":
                self.dream.tick(action, step)
                if self.limit and self.dream.horizon >= self.limit:
                    self.dream.resync()
            else:
                self.dream.see(action, step)
        self._think()
        self._show()
        if self.film:
            try:
                self.film.add(self.view, self.caption())
            except OSError as error:
                self.filmed, self.film = f"not, as {error}", None

    @torch.no_grad()
    def _think(self) -> None:
        """What the player would do now."""
        step = self.game.step
        if self.dream and self.dreams and self.mode == "dream":
            step = self.dream.dreamt(step)
        action, following = self.cast.policy.act(step, self.memory, explore=self.explores)
        self.now = Moment(self.ticks, step, self.memory, int(action[0]), following, self.game.names)

    @torch.no_grad()
    def _show(self) -> None:
        """Look at this tick; the history keeps what there was to see."""
        insights = [inside.look(self.now) for inside in self.insides]
        panels = [panel for insight in insights for panel in insight.panels]
        known = (x.value for x in insights if x.value is not None and math.isfinite(x.value))
        value = next(known, None)
        if self.dream and self.mode == "dream":
            stage, panels = self.dream.stage(), [*self.dream.panels(), *panels]
        else:
            stage = Images("game", (Picture(self.game.screen(), "the game"),))
        self.view = View(stage, tuple(panels))
        step = self.game.step
        about = {
            "did": self.game.names[self.done] if self.done >= 0 else "",
            "score": self.game.score,
            "length": self.game.length,
            "horizon": self.dream.horizon if self.dream and self.mode == "dream" else 0,
        }
        reward, last = float(step.reward[0]), bool(step.last[0])
        self.history.add(Entry(self.ticks, about, pack_view(self.view), reward, value, last))

    def caption(self) -> str:
        """A line on what is shown, for a film."""
        horizon = f"   {self.dream.horizon} steps imagined" if self.dream else ""
        mode_says = horizon if self.mode == "dream" else ""
        who = "by hand" if self.by_hand else self.cast.player
        action = self.game.names[self.done]
        return f"{self.game.title}   {who}   {action}   score {self.game.score:g}{mode_says}"
