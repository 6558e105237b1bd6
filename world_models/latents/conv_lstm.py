"""Long short-term memory on a grid."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ConvLSTM(nn.Module):
    """Long short-term memory whose products are convolutions (Shi et al. 2015), without peepholes.

    ``gates`` is added to the input, forget and output gates and to the content.
    """

    def __init__(self, inputs: int, maps: int) -> None:
        super().__init__()
        self.gates = nn.Conv2d(inputs + maps, 4 * maps, 3, padding=1)
        nn.init.zeros_(self.gates.bias)
        nn.init.ones_(self.gates.bias[maps : 2 * maps])  # remembers at first

    def forward(
        self, inputs: tuple[Tensor, ...], hidden: Tensor, cell: Tensor, gates: Tensor | float = 0.0
    ) -> tuple[Float[Tensor, "N maps h w"], Float[Tensor, "N maps h w"]]:
        """Return the next hidden state and cell."""
        i, f, o, content = (self.gates(torch.cat([*inputs, hidden], 1)) + gates).chunk(4, 1)
        cell = f.sigmoid() * cell + i.sigmoid() * content.tanh()
        return o.sigmoid() * cell.tanh(), cell
