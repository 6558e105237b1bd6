"""States of parts, restored on the device of the part."""

import torch

from reverie.world_models.state import HasState


class Part(HasState):
    STATE = ("tensor", "tensors", "names")

    def __init__(self, device: str, value: float) -> None:
        self.tensor = torch.full((2,), value, device=device)
        self.tensors = {"a": torch.full((2,), value, device=device)}
        self.names = {"a": [value]}


def test_tensors_are_restored_on_the_device_of_the_part() -> None:
    part = Part("meta", 0.0)
    part.load_state_dict(Part("cpu", 1.0).state_dict())
    assert part.tensor.device.type == "meta"
    assert part.tensors["a"].device.type == "meta"
    assert part.names == {"a": [1.0]}


def test_a_restored_state_is_a_copy() -> None:
    part, state = Part("cpu", 0.0), Part("cpu", 1.0).state_dict()
    part.load_state_dict(state)
    part.tensors["a"].zero_()
    part.names["a"].clear()
    assert state["tensors"]["a"].tolist() == [1, 1]
    assert state["names"] == {"a": [1.0]}
