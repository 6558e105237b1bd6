"""BatchedEnv: a Gymnasium vector environment with NEXT_STEP autoreset, as time steps of tensors.

An environment in numpy runs in a thread of its own where that gains time (``EmulatorEnvs``), one of
tensors on its device (``TensorEnvs``).
"""

import traceback
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from jaxtyping import Float64, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from . import prng
from .base import ImageEnv
from .dynamics import HasDynamics
from .errors import EmulatorTimeout, EnvError, RunError, UsageError
from .interface import DISCOUNT, EnvConfig, EnvSpec, TimeStep
from .spaces import ObservationReader, check_autoreset
from .transfer import timestep_from_arrays
from .worker import InlineWorker, Worker

Array = NDArray[Any]


class BatchedEnv:
    """N copies of one environment whose ``reset`` and ``step`` return time steps on ``device``.

    ``first_env`` is the index of the first copy if the run has others elsewhere; ``timeout`` is in
    seconds. With ``snapshots``, an environment that has dynamics (``HasDynamics``) hands them on in
    ``spec``, and its states in every time step. Raises UsageError for an unsupported autoreset mode
    or action space, and for observations that are no uint8 images or whose layout is not known (see
    ``Layout``). Every method that steps raises EmulatorTimeout if the environment does not return
    in time, and EnvError if it raises an exception of its own or returns an invalid reward.

    Example::

        import torch
        from reverie.envs.batched_env import BatchedEnv
        from reverie.envs.catch import CatchConfig

        envs = BatchedEnv(CatchConfig().build(8), seed=0)
        step = envs.reset()
        step = envs.step(torch.zeros(8, dtype=torch.int64))
        envs.close()
    """

    def __new__(cls, env: Any, **settings: Any) -> "BatchedEnv":
        """Choose the class for the environment: of tensors if it has an attribute ``tensors``."""
        if cls is BatchedEnv:
            cls = TensorEnvs if getattr(env, "tensors", False) else EmulatorEnvs
        return object.__new__(cls)

    def __init__(
        self,
        env: VectorEnv[Any, Any, Any],
        *,
        seed: int = 0,
        purpose: prng.Purpose = prng.Purpose.TRAIN,
        device: torch.device | str = "cpu",
        timeout: float = 180.0,
        reseed_after: int = 10_000,
        first_env: int = 0,
        snapshots: bool = False,
    ) -> None:
        self.env, self.seed, self.purpose, self.first_env = env, seed, purpose, first_env
        self.device = torch.device(device)
        self.timeout, self.reseed_after = timeout, reseed_after
        check_autoreset(env)
        self._observations = ObservationReader(env, first_env)
        self.spec = self._observations.spec
        if snapshots and isinstance(env, HasDynamics):
            self.spec = replace(self.spec, dynamics=env.dynamics())
        self.seed_index = torch.zeros(self.spec.num_envs, dtype=torch.int64)
        """How often each env was seeded before."""

    @property
    def parts(self) -> "list[BatchedEnv]":
        """Groups of envs with their own ``send`` and ``receive``."""
        return [self]

    def emulator_seeds(self) -> list[int]:
        """Return the seed that each env was last given."""
        seeds: list[int] = prng.env_seeds(
            self.seed, self.purpose, self.seed_index, self.first_env
        ).tolist()
        return seeds

    def reset(self, seed_index: int = 0) -> TimeStep:
        """Start new episodes in all envs; every ``seed_index`` has other seeds."""
        raise NotImplementedError

    def step(self, action: Int64[Tensor, " N"]) -> TimeStep:
        """Step all envs: ``send``, then ``receive``."""
        self.send(action)
        return self.receive()

    def send(self, action: Int64[Tensor, " N"]) -> None:
        """Start a step; the emulators run until ``receive`` while the caller does other work.

        Raises UsageError for an action out of range (ale_py would hang).
        """
        raise NotImplementedError

    def return_to(self, env: Int64[Tensor, " M"], snapshot: UInt8[Tensor, "M S"]) -> None:
        """Start the next episodes of envs whose episode has ended from snapshots of earlier steps.

        Raises UsageError if these envs start their episodes themselves.
        """
        raise UsageError(
            f"The policy returns to snapshots, and {type(self).__name__} starts every episode "
            "itself; make the envs with RestorableEnvs."
        )

    def receive(self) -> TimeStep:
        """Return the result of the step that was started by ``send``.

        Raises EmulatorTimeout if there is none within ``timeout`` seconds, and RuntimeError if no
        step was started.
        """
        raise NotImplementedError

    def checked_actions(self, action: Int64[Tensor, " N"]) -> Int64[Array, " N"]:
        """Return the actions in host memory; raises UsageError for one out of range."""
        actions: Array = action.cpu().numpy()
        if actions.min() < 0 or actions.max() >= self.spec.num_actions:
            invalid = np.flatnonzero((actions < 0) | (actions >= self.spec.num_actions))
            raise UsageError(
                f"Action {actions[invalid[0]]} of env {self.first_env + invalid[0]} is not in "
                f"0..{self.spec.num_actions - 1}; the policy must choose among these."
            )
        return actions

    def close(self) -> None:
        """Free the emulators, after the step under way."""
        self.env.close()

    def state_dict(self) -> dict[str, Any]:
        """Return what ``load_state_dict`` replays; envs of tensors have no such state."""
        raise NotImplementedError

    def load_state_dict(self, state: dict[str, Any]) -> UInt8[Tensor, "N K H W"]:
        """Replay the logged actions from the logged seeds, and return the resulting observations.

        Raises ValueError if the state is of another number of envs.
        """
        raise NotImplementedError


class TensorEnvs(BatchedEnv):
    """Envs that step on tensors: nothing leaves the device, and nothing is logged."""

    def __init__(self, env: VectorEnv[Any, Any, Any], **settings: Any) -> None:
        super().__init__(env, **settings)
        zeros = torch.zeros(self.spec.num_envs, device=self.device)
        self._action, self._last = zeros.long(), zeros.bool()
        self._zeros, self._ones = zeros, zeros + 1

    def reset(self, seed_index: int = 0) -> TimeStep:
        self.seed_index.fill_(seed_index)
        seeds: Any = self.emulator_seeds()
        obs, _ = self.env.reset(seed=seeds)
        first = self._ones.bool()
        return self._timestep(obs, self._zeros.double(), self._ones, first=first, last=~first)

    def send(self, action: Int64[Tensor, " N"]) -> None:
        self._action = action

    def receive(self) -> TimeStep:
        first = self._last
        obs, reward, terminated, truncated, info = self.env.step(self._action)
        last = terminated | truncated
        return self._timestep(obs, reward.double(), info[DISCOUNT], first=first, last=last)

    def _timestep(
        self,
        obs: UInt8[Tensor, "N K H W"],
        reward: Tensor,
        discount: Tensor,
        *,
        first: Tensor,
        last: Tensor,
    ) -> TimeStep:
        self._last = last
        return TimeStep(obs, reward, discount, first, last, obs[:, -self.spec.channels :])


class EmulatorEnvs(BatchedEnv):
    """Envs in numpy, exactly resumable by their seeds and actions.

    They step in a thread, beside what the caller does. The package's envs in one process, whose
    steps hold Python's lock, step in the caller's own unless it has a GPU to keep busy.

    The state of an emulator is a function of its last seed and the actions since, so a checkpoint
    holds both for every env and is replayed on resume. To keep the replay short, an env whose log
    has grown past ``reseed_after`` timesteps is seeded anew right after its next automatic reset.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], **settings: Any) -> None:
        super().__init__(env, **settings)
        self._seedable = env.metadata.get("reset_mask", False) or isinstance(
            env.unwrapped, SyncVectorEnv | AsyncVectorEnv
        )
        self._action_type = np.min_scalar_type(self.spec.num_actions - 1)
        self._timestep_bytes = self.spec.num_envs * self._action_type.itemsize
        inline = isinstance(env, ImageEnv) and self.device.type == "cpu"
        self._worker: InlineWorker | Worker = InlineWorker() if inline else Worker()
        self._sent_actions: Array | None = None  # of the step under way
        n = self.spec.num_envs
        self.steps_since_seed = np.zeros(n, np.int64)
        self._log = bytearray()  # the actions of all envs, one timestep after another
        self._was_last = np.zeros(n, np.bool_)
        self._privileged = np.zeros((n, len(self.spec.privileged)), np.uint8)

    def reset(self, seed_index: int = 0) -> TimeStep:
        n = self.spec.num_envs
        self.seed_index.fill_(seed_index)
        obs = self._seed_envs(np.ones(n, np.bool_))
        self._log.clear()
        self._was_last = np.zeros(n, np.bool_)
        zeros = np.zeros(n)
        return self._timestep(
            obs, zeros, zeros + 1, first=np.ones(n, np.bool_), last=self._was_last
        )

    def send(self, action: Int64[Tensor, " N"]) -> None:
        actions = self.checked_actions(action)
        self._worker.submit(self.env.step, actions)
        self._sent_actions = actions

    def receive(self) -> TimeStep:
        if self._sent_actions is None:
            raise RuntimeError("BatchedEnv.receive was called without BatchedEnv.send before.")
        actions, self._sent_actions = self._sent_actions, None
        obs, reward, terminated, truncated, info = self._wait()
        first = self._was_last
        last = np.asarray(terminated) | np.asarray(truncated)
        reward = self._finite_rewards(reward)
        discount = 1.0 - np.asarray(terminated, np.float32)
        if DISCOUNT in info:
            discount = np.where(info.get(f"_{DISCOUNT}", True), info[DISCOUNT], discount)
        self._read_privileged(info)
        self._was_last = last
        self._log += actions.astype(self._action_type).tobytes()
        self.steps_since_seed += 1
        timesteps = int(self.steps_since_seed.max())
        if timesteps > self.reseed_after and self._seedable:
            overdue = first & ~last & (self.steps_since_seed > self.reseed_after)
            if overdue.any():
                self.seed_index += torch.from_numpy(overdue)
                obs = self._seed_envs(overdue)
                timesteps = int(self.steps_since_seed.max())
        if len(self._log) > (2 * timesteps + 1000) * self._timestep_bytes:
            del self._log[: len(self._log) - timesteps * self._timestep_bytes]
        return self._timestep(obs, reward, discount, first=first, last=last)

    def close(self) -> None:
        self._worker.drain(timeout=2.0)  # freed amid a step they would abort the process
        self._worker.stop()
        self.env.close()

    def state_dict(self) -> dict[str, Any]:
        log = np.frombuffer(bytes(self._log), self._action_type).reshape(-1, self.spec.num_envs)
        log = log[len(log) - int(self.steps_since_seed.max()) :]
        return {
            "seed_index": self.seed_index.clone(),
            "steps_since_seed": torch.from_numpy(self.steps_since_seed.copy()),
            "action_log": torch.from_numpy(log.astype(np.int64)).to(torch.int32),  # [T, N]
            "was_last": torch.from_numpy(self._was_last.copy()),
        }

    def load_state_dict(self, state: dict[str, Any]) -> UInt8[Tensor, "N K H W"]:
        n = self.spec.num_envs
        per_env = ("seed_index", "steps_since_seed", "was_last")
        log = state["action_log"].numpy()
        if {tuple(state[name].shape) for name in per_env} != {(n,)} or log.shape[1] != n:
            raise ValueError(f"its arrays are not of {n} envs")
        steps_since_seed = state["steps_since_seed"].numpy()
        self.seed_index = state["seed_index"].clone()
        timesteps = int(steps_since_seed.max())
        obs = self._seed_envs(np.ones(n, np.bool_))
        # The ends of the envs' logs are aligned: the shorter a log, the later it begins.
        for timestep in range(timesteps + 1):
            seeded_now = steps_since_seed == timesteps - timestep
            if timestep and seeded_now.any():
                obs = self._seed_envs(seeded_now)
            if timestep < timesteps:
                begun = steps_since_seed >= timesteps - timestep
                obs = self._call(self.env.step, np.where(begun, log[timestep], 0))[0]
        self.steps_since_seed = steps_since_seed.copy()
        self._log = bytearray(log.astype(self._action_type).tobytes())
        self._was_last = state["was_last"].numpy().copy()
        images = self._observations.read(obs, first=None, timestep=timesteps)
        return torch.from_numpy(np.array(images))

    def _seed_envs(self, mask: Array) -> Array:
        """Seed and reset the masked envs, and return the observations of all."""
        self.steps_since_seed[mask] = 0
        options = None if mask.all() else {"reset_mask": mask}
        # Gymnasium's vector environments take a list of seeds; their base class declares only int.
        seeds: Any = self.emulator_seeds()
        obs, info = self._call(lambda: self.env.reset(seed=seeds, options=options))
        self._read_privileged(info, mask)
        return np.asarray(obs)

    def _read_privileged(self, info: dict[str, Any], mask: Array | None = None) -> None:
        """Keep the true state of the masked envs, which the environment returns as ``info``."""
        if not self.spec.privileged:
            return
        rows, state = info.get("_privileged", mask), np.asarray(info["privileged"], np.uint8)
        if rows is None:
            self._privileged[:] = state
        else:
            rows = rows if mask is None else rows & mask
            self._privileged[rows] = state[rows]

    def _finite_rewards(self, reward: Any) -> Float64[Array, " N"]:
        """Return the rewards in float64; raises EnvError unless there is a finite one per env."""
        rewards, n = np.asarray(reward), self.spec.num_envs
        numeric = rewards.dtype.kind in "biuf" and rewards.shape == (n,)
        valid = np.isfinite(rewards) if numeric else np.zeros(n, np.bool_)
        if not valid.all():
            env = int(valid.argmin())
            found = rewards[env] if rewards.shape == (n,) else f"{rewards.dtype}{rewards.shape}"
            raise EnvError(
                f"Env {self.first_env + env} of {self._observations.name} returned the reward "
                f"{found} at timestep {int(self.steps_since_seed[env]) + 1} after its seed "
                f"{self.emulator_seeds()[env]}; rewards must be finite numbers, one per env."
            )
        return rewards.astype(np.float64)

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        self._worker.submit(function, *arguments)
        return self._wait()

    def _wait(self) -> Any:
        try:
            return self._worker.result(self.timeout)
        except TimeoutError:
            raise EmulatorTimeout(
                f"The emulators did not return within {self.timeout:g} s at timestep "
                f"{int(self.steps_since_seed.max())}; the last checkpoint is complete, and the "
                "same command continues from it."
            ) from None
        except (UsageError, RunError):
            raise
        except Exception as error:
            if self._observations.layout.trusted:
                raise
            origin = traceback.extract_tb(error.__traceback__)[-1]
            raise EnvError(
                f"{self._observations.name} raised {type(error).__name__} ({error}) in "
                f"{origin.filename}:{origin.lineno} at timestep "
                f"{int(self.steps_since_seed.max()) + 1}."
            ) from error

    def _timestep(
        self, obs: Array, reward: Array, discount: Array, *, first: Array, last: Array
    ) -> TimeStep:
        timestep = int(self.steps_since_seed.max())
        images = self._observations.read(obs, first=first, timestep=timestep)
        columns = {"reward": reward, "discount": discount, "first": first, "last": last}
        if self.spec.privileged:
            columns["privileged"] = self._privileged
        if self.spec.dynamics:
            columns["snapshot"] = self.env.snapshots()  # type: ignore[attr-defined]
        return timestep_from_arrays(images, columns, self.spec.channels, self.device)


def spec_of(
    env: EnvConfig, num_envs: int = 1, *, privileged: bool = False, snapshots: bool = False
) -> EnvSpec:
    """Return the spec of ``num_envs`` copies of an environment; one is built to read it from.

    Raises UsageError for an environment that a ``BatchedEnv`` refuses.
    """
    envs = BatchedEnv(env.build(1, privileged=privileged), snapshots=snapshots)
    envs.close()
    return replace(envs.spec, num_envs=num_envs)
