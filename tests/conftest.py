"""Shapes and types of every package function are enforced while the tests run."""

import sys
from pathlib import Path

import torch
from jaxtyping import install_import_hook

sys.path.insert(0, str(Path(__file__).parent))
install_import_hook(["agents", "envs", "world_models", "experiments"], "checker.checked")
torch.set_num_threads(1)
