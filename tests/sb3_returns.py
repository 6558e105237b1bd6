"""A callback of Stable-Baselines3 that the tests of several adapters use."""

from stable_baselines3.common.callbacks import BaseCallback


class Returns(BaseCallback):
    """The returns of episodes that the algorithm is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.returns: list[float] = []

    def _on_step(self) -> bool:
        self.returns += [info["episode"]["r"] for info in self.locals["infos"] if "episode" in info]
        return True
