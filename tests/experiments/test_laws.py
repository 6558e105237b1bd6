"""The laws of the roles: parts of reverie keep them, and each finds a part that breaks it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from reverie import check_part
from reverie.envs.catch import Catch, CatchConfig
from reverie.envs.errors import UsageError
from reverie.experiments.config.registry import BONUSES, ENVS
from reverie.world_models.density.histogram import Histogram, HistogramConfig
from reverie.world_models.planning import PLANNERS
from reverie.world_models.prediction.mlp import MLPPredictorConfig
from reverie.world_models.representation.dct import DCTConfig
from reverie.world_models.representation.projection import ProjectionConfig

from sample_agents import LAW_AGENTS, PLANNER_EXAMPLES
from sample_models import DENSITY_EXAMPLES

MLP = MLPPredictorConfig(
    hidden=(8, 16, 16, 8), horizons=(2,), updates=(1,), learning_rates=(1e-3,), batch_sizes=(4,)
)
KEEPING = {
    **{name: DENSITY_EXAMPLES[name] for name in ("histogram", "made", "bound")},
    "projection": ProjectionConfig(),
    "dct": DCTConfig(),
    "mlp": MLP,
    **PLANNER_EXAMPLES,
    "reactive": PLANNERS["reactive"](),
    **{f"bonus-{name}": kind().example() for name, kind in BONUSES.items()},
    **{name: LAW_AGENTS[name] for name in ("mfec", "ppo")},
    **{name: ENVS[name]() for name in ("catch", "deep-sea")},
}


@pytest.mark.parametrize("name", KEEPING)
def test_parts_keep_the_laws_of_their_role(name: str) -> None:
    check_part(KEEPING[name])


@dataclass(frozen=True)
class FaultyDensityConfig(HistogramConfig):
    fault: str = ""

    def build(self, *, shape: Any, levels: int, seed: int = 0, **options: Any) -> Any:
        density: Any = Histogram(shape, levels, seed=seed)
        log_prob, observe, sample = density.log_prob, density.observe, density.sample
        if self.fault == "sum to one":
            density.log_prob = lambda x: log_prob(x) + 0.1
            density.observe = lambda x: tuple(y + 0.1 for y in observe(x))
        if self.fault == "makes no update":
            density.log_prob = lambda x: observe(x)[0]
        if self.fault == "just before and just after":
            density.observe = lambda x: observe(x)[::-1]
        if self.fault == "in order":
            density.observe = lambda x: tuple(y.flip(0) for y in observe(x.flip(0)))
        if self.fault == "does not depend on its batch":
            density.log_prob = lambda x: log_prob(x) - log_prob(x).mean()
        if self.fault == "of symbols":
            density.sample = lambda n: sample(n) + 2
        if self.fault == "generators of its own":
            density.sample = lambda n: torch.randint(levels, (n, *shape), dtype=torch.uint8)
        if self.fault == "continues exactly":
            density.load_state_dict = lambda state: None
        return density


@pytest.mark.parametrize(
    "fault",
    [
        *("sum to one", "makes no update", "just before and just after", "in order"),
        *("does not depend on its batch", "of symbols", "generators of its own"),
        "continues exactly",
    ],
)
def test_a_broken_law_of_a_density_is_named(fault: str) -> None:
    with pytest.raises(AssertionError, match=f"breaks laws of its role:(.|\n)*{fault}"):
        check_part(FaultyDensityConfig(fault=fault))


@dataclass(frozen=True)
class ClockConfig(CatchConfig):
    """An env whose chance is not that of its seed."""

    def build(self, num_envs: int, *, threads: int = 0, privileged: bool = False) -> Catch:
        env: Any = Catch(num_envs)
        env.seed_env = lambda i, seed: None
        env.generators = [np.random.default_rng() for _ in range(num_envs)]
        return env  # type: ignore[no-any-return]


def test_an_env_whose_seed_does_not_fix_its_chance_is_found() -> None:
    with pytest.raises((AssertionError, UsageError), match=r"Equal seeds|replay"):
        check_part(ClockConfig())


def test_a_part_that_is_no_config_is_refused() -> None:
    with pytest.raises(UsageError, match="no config of a role"):
        check_part(replace(MLP).build)
