"""Stream: any gymnasium.vector.VectorEnv with NEXT_STEP autoreset, as Steps on one device.

An emulator's state is the seed it was last given and the actions since, so a stream keeps both:
that is its whole checkpoint, replayed on resume. To keep the replay short, a stream whose log has
grown past ``reseed_after`` ticks is seeded anew right after its next automatic reset.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from jaxtyping import Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from envs import dice
from envs.errors import EmulatorSilent, UsageError
from envs.interface import EnvConfig, EnvSpec, Step
from envs.spaces import check_autoreset, read_spaces
from envs.worker import Worker

Array = NDArray[Any]


class Stream:
    """N streams of one world; ``reset`` and ``step`` say Steps, and every tick is logged.

    ``start`` is the number of the first stream, where others of the run are elsewhere. Raises
    UsageError for an environment of another autoreset mode, observation or action space.
    """

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        *,
        seed: int = 0,
        purpose: dice.Purpose = "train",
        device: torch.device | str = "cpu",
        timeout: float = 180.0,
        reseed_after: int = 10_000,
        start: int = 0,
    ) -> None:
        self.env, self.seed, self.purpose, self.start = env, seed, purpose, start
        self.device = torch.device(device)
        self.timeout, self.reseed_after = timeout, reseed_after
        check_autoreset(env)
        self.spec, self._channels_first = read_spaces(env)
        self._seedable = env.metadata.get("reset_mask", False) or isinstance(
            env.unwrapped, SyncVectorEnv | AsyncVectorEnv
        )
        self._on_device = bool(getattr(env, "tensors", False))  # a dream's tensors
        self._action_type = np.min_scalar_type(self.spec.num_actions - 1)
        self._tick_bytes = self.spec.num_envs * self._action_type.itemsize
        self._worker = Worker()
        self._sent: Array | None = None  # actions that are being carried out
        n = self.spec.num_envs
        self.number = torch.zeros(n, dtype=torch.int64)  # how often each stream was seeded before
        self.length = np.zeros(n, np.int64)  # ticks since each stream was last seeded
        self._log = bytearray()  # the actions of a tick, one tick after another
        self._was_last = np.zeros(n, np.bool_)

    def reset(self, number: int = 0) -> Step:
        """Start every stream anew and say the first step; each ``number`` has seeds of its own."""
        n = self.spec.num_envs
        self.number.fill_(number)
        if self._on_device:
            seeds: Any = self.emulator_seeds()
            return self._dreamt(self.env.reset(seed=seeds)[0])
        obs = self._seed_streams(np.ones(n, np.bool_))
        self._log.clear()
        self._was_last = np.zeros(n, np.bool_)
        zeros = np.zeros(n, np.float32)
        return self._step(obs, zeros, zeros + 1, first=np.ones(n, np.bool_), last=self._was_last)

    @property
    def parts(self) -> "list[Stream]":
        """What is sent to and received from at a time."""
        return [self]

    def step(self, action: Int64[Tensor, " N"]) -> Step:
        """One tick of every stream: ``send``, then ``receive``."""
        self.send(action)
        return self.receive()

    def send(self, action: Int64[Tensor, " N"]) -> None:
        """Begin a tick; the emulators work while the caller does.

        Raises UsageError for an action that the world does not have (ale_py would hang).
        """
        if self._on_device:
            self._asked = action
            return
        actions = action.cpu().numpy()
        wrong = np.flatnonzero((actions < 0) | (actions >= self.spec.num_actions))
        if wrong.size:
            raise UsageError(
                f"Action {actions[wrong[0]]} of stream {self.start + wrong[0]} is none of the "
                f"world's actions 0..{self.spec.num_actions - 1}; the policy must choose among "
                "these."
            )
        self._worker.begin(self.env.step, actions)
        self._sent = actions

    def receive(self) -> Step:
        """The end of the tick that was begun.

        Raises EmulatorSilent where no answer comes within ``timeout`` seconds.
        """
        if self._on_device:
            return self._dream(self._asked)
        if self._sent is None:
            raise RuntimeError("Nothing was sent to this stream, so there is nothing to receive.")
        actions, self._sent = self._sent, None
        obs, reward, terminated, truncated, info = self._wait()
        first = self._was_last
        last = np.asarray(terminated) | np.asarray(truncated)
        discount = info.get("discount", 1.0 - np.asarray(terminated, np.float32))
        self._was_last = last
        self._log += actions.astype(self._action_type).tobytes()
        self.length += 1
        overdue = first & ~last & (self.length > self.reseed_after)
        if overdue.any() and self._seedable:
            self.number += torch.from_numpy(overdue)
            obs = self._seed_streams(overdue)
        if len(self._log) > (2 * self.length.max() + 1000) * self._tick_bytes:
            del self._log[: len(self._log) - int(self.length.max()) * self._tick_bytes]
        return self._step(obs, reward, discount, first=first, last=last)

    def close(self) -> None:
        """Free the emulators, at the end of the tick that is under way."""
        self._worker.settle(timeout=2.0)  # in the middle of one they would abort the process
        self._worker.stop()
        self.env.close()

    def emulator_seeds(self) -> list[int]:
        """The seed each stream was last given."""
        seeds: list[int] = dice.env_seeds(self.seed, self.purpose, self.number, self.start).tolist()
        return seeds

    def state_dict(self) -> dict[str, Any]:
        log = np.frombuffer(bytes(self._log), self._action_type).reshape(-1, self.spec.num_envs)
        log = log[len(log) - int(self.length.max()) :]
        return {
            "number": self.number.clone(),
            "length": torch.from_numpy(self.length.copy()),
            "log": torch.from_numpy(log.astype(np.int64)).to(torch.int32),  # [T, N]
            "was_last": torch.from_numpy(self._was_last.copy()),
        }

    def load_state_dict(
        self, state: dict[str, Any], progress: Callable[[int, int], None] = lambda done, of: None
    ) -> UInt8[Tensor, "N K H W"]:
        """Play the logged actions again from the logged seeds; what the streams look like then.

        Raises ValueError where the state is of another number of streams.
        """
        each = {tuple(state[name].shape) for name in ("number", "length", "was_last")}
        if each != {(self.spec.num_envs,)} or state["log"].shape[1] != self.spec.num_envs:
            raise ValueError(f"its streams are not {self.spec.num_envs}")
        log, length = state["log"].numpy(), state["length"].numpy()
        self.number = state["number"].clone()
        ticks = int(length.max())
        obs = self._seed_streams(np.ones(self.spec.num_envs, np.bool_))
        for tick in range(ticks + 1):  # the logs' ends are aligned: the shorter, the later seeded
            born = length == ticks - tick
            if tick and born.any():
                obs = self._seed_streams(born)
            if tick < ticks:
                obs = self._call(self.env.step, np.where(length >= ticks - tick, log[tick], 0))[0]
                progress(tick + 1, ticks)
        self.length = length.copy()
        self._log = bytearray(log.astype(self._action_type).tobytes())
        self._was_last = state["was_last"].numpy().copy()
        return torch.from_numpy(np.array(self._channels_first(np.asarray(obs))))

    def _seed_streams(self, mask: Array) -> Array:
        """Seed the masked streams; what all of them look like then."""
        self.length[mask] = 0
        options = None if mask.all() else {"reset_mask": mask}
        # Gymnasium's vector environments take a list of seeds; their base class says only int.
        seeds: Any = self.emulator_seeds()
        obs, _ = self._call(lambda: self.env.reset(seed=seeds, options=options))
        return np.asarray(obs)

    def _dream(self, action: Int64[Tensor, " N"]) -> Step:
        """One tick of an imagined world: nothing leaves the device, and nothing is logged."""
        before = self._asleep
        obs, reward, terminated, truncated, info = self.env.step(action)
        last = terminated | truncated
        return self._dreamt(obs, reward, info["discount"], first=before, last=last)

    def _dreamt(
        self,
        obs: UInt8[Tensor, "N K H W"],
        reward: Tensor | None = None,
        discount: Tensor | None = None,
        *,
        first: Tensor | None = None,
        last: Tensor | None = None,
    ) -> Step:
        zeros = torch.zeros(len(obs), device=obs.device)
        self._asleep = zeros.bool() if last is None else last
        return Step(
            obs=obs,
            reward=zeros if reward is None else reward,
            discount=zeros + 1 if discount is None else discount,
            first=zeros == 0 if first is None else first,
            last=self._asleep,
            frame=obs[:, -self.spec.colours :],
        )

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._worker.begin(function, *arguments)
        return self._wait()

    def _wait(self) -> Any:
        try:
            return self._worker.end(self.timeout)
        except TimeoutError:
            raise EmulatorSilent(
                f"The emulators have said nothing for {self.timeout:g} s at tick "
                f"{int(self.length.max())}; the last checkpoint is whole, and the same command "
                "continues from it."
            ) from None

    def _step(
        self, obs: Array, reward: Array, discount: Array, *, first: Array, last: Array
    ) -> Step:
        images = self._channels_first(np.asarray(obs))
        n, on_gpu = len(images), self.device.type != "cpu"
        # A copy, because many environments write the next observation into the same buffer; in
        # one piece, so that a tick goes to the device in one transfer.
        buffer = torch.empty(10 * n + images.size, dtype=torch.uint8, pin_memory=on_gpu)
        host = _read(buffer, images.shape)
        host["obs"].numpy()[:] = images
        for name, x in (
            ("reward", reward),
            ("discount", discount),
            ("first", first),
            ("last", last),
        ):
            host[name].numpy()[:] = x
        seen = _read(buffer.to(self.device, non_blocking=True), images.shape) if on_gpu else host
        return Step(**seen, frame=host["obs"][:, -self.spec.colours :])


def spec_of(env: EnvConfig, num_envs: int = 1) -> EnvSpec:
    """What so many streams of a world show and take; one is opened to be asked."""
    stream = Stream(env.build(1))
    stream.close()
    return replace(stream.spec, num_envs=num_envs)


def _read(buffer: UInt8[Tensor, " bytes"], shape: tuple[int, ...]) -> dict[str, Tensor]:
    """What stands in a tick's buffer, in place."""
    n = shape[0]
    reward, discount, first, last, obs = torch.split(buffer, [4 * n, 4 * n, n, n, math.prod(shape)])
    return {
        "obs": obs.view(shape),
        "reward": reward.view(torch.float32),
        "discount": discount.view(torch.float32),
        "first": first.view(torch.bool),
        "last": last.view(torch.bool),
    }
