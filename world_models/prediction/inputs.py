"""Checks of what a predictor is given: the shape of observations, and the range of actions."""

from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

from ...envs.errors import UsageError


def check_obs_shape(obs: UInt8[Tensor, "B T K H W"], expected: tuple[int, int, int]) -> None:
    """Raise UsageError for observations of another shape than the predictor's."""
    shape = tuple(obs.shape[2:])
    if shape != expected:
        raise UsageError(
            f"The predictor was built for observations of shape {expected} and got {shape}; record "
            "and train it in the format in which it is used."
        )


def one_hot_actions(
    action: Int64[Tensor, "*b"], num_actions: int
) -> Float[Tensor, "*b {num_actions}"]:
    """Encode actions as rows; raises UsageError for one out of range.

    That is on a CPU only, where the check costs no synchronization.
    """
    if action.device.type == "cpu" and action.numel() and int(action.max()) >= num_actions:
        raise UsageError(
            f"The predictor got action {int(action.max())}, and its actions are "
            f"0..{num_actions - 1}; record and train it with the same action set."
        )
    return functional.one_hot(action, num_actions).float()
