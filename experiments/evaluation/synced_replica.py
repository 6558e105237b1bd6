"""A replica emulator kept in sync with one env of a batch, for access to the console's RAM."""

from ...envs.atari.atari import Atari
from ...envs.atari.replica import ReplicaEmulator
from ...envs.batched_env import BatchedEnv
from ...envs.errors import UsageError
from ...envs.interface import Transition


class SyncedReplica:
    """The replica of env ``index``; it must receive every transition since the env's reset.

    Raises UsageError for an env that is no Atari game.
    """

    def __init__(self, envs: BatchedEnv, index: int) -> None:
        env = envs.env
        if not isinstance(env, Atari):
            raise UsageError("Only Atari games have replica emulators, whose RAM can be read.")
        self.envs, self.index = envs, index
        self.replica = ReplicaEmulator(env.game, env.protocol)
        self._seed()

    def step(self, t: Transition) -> None:
        """Replay a transition; raises RuntimeError if the replica's reward differs."""
        if int(self.envs.seed_index[self.index]) != self.seed_index:
            self._seed()  # the env was reseeded at this timestep, its automatic reset
            return
        reward = self.replica.step(int(t.action[self.index]))
        expected = float(t.next_step.reward[self.index])
        if reward != expected:
            raise RuntimeError(
                f"The replica of env {self.index} diverged from it: its reward is {reward}, not "
                f"{expected}."
            )

    def catch_up(self) -> None:
        """Replay the actions since the env was last seeded."""
        self._seed()
        length = int(self.envs.steps_since_seed[self.index])
        log = self.envs.state_dict()["action_log"][:, self.index].tolist()
        for action in log[len(log) - length :]:
            self.replica.step(action)

    def _seed(self) -> None:
        self.seed_index = int(self.envs.seed_index[self.index])
        self.replica.seed(self.envs.emulator_seeds()[self.index])
