"""Shapes and types of every package function are enforced while the tests run."""

import torch
from jaxtyping import install_import_hook

from checker import sample_calls

sample_calls()
install_import_hook(["reverie"], "checker.checked")
torch.set_num_threads(1)
