"""Every representation probed alike: R2 of the places in a game's memory, predicted from its keys.

After Anand et al. 2019, "Unsupervised State Representation Learning in Atari": representations are
fitted to random play, and a linear probe of frozen keys is tested on other episodes. The places are
bytes of the memory (``envs.atari.ram``), as numbers; the published probes classify them instead.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS
from ...world_models.interface import Representation, RepresentationConfig
from ...world_models.representation import REPRESENTATIONS
from ..config.roles import entry_config
from ..datasets.dataset import Recording
from ..evaluation.linear_probe import chosen_ridge, entropy, r_squared
from ..reporting.committed import process_provenance
from ..runs.runtime import pick_threads
from ..training.representations import RepresentationPretraining
from .recipe import Recipe, for_minutes, kept, record_random_play

HELD_OUT, TEST = 0.3, 0.2
"""Shares of the frames, in whole episodes, that no model is fitted to, and that probes are tested
on. The rest of the former chooses each probe's penalty."""
LEAST_ENTROPY = 0.6
"""Of a byte, in nats; bytes that vary less are left out (as in the code of Anand et al. 2019)."""
ENCODED = 256
"""Frames that are encoded at once."""


@dataclass(frozen=True)
class ProbeBenchmark(Recipe):
    """Every representation of the table, fitted for the same time on the same frames and probed.

    A representation in a game is one part of the result, which is kept when it is finished.
    """

    games: tuple[str, ...]
    variants: dict[str, RepresentationConfig]
    """Representations by name beside those of the table."""
    minutes: float = 10.0
    """Minutes of a processor in which each representation is fitted."""
    frames: int = 20_000
    """Recorded frames of random play in each game."""
    names: tuple[str, ...] = ()
    """Representations; by default all."""
    seed: int = 0
    """Seed of the random play, the models and their batches."""

    kind: ClassVar[str] = "probes"

    @property
    def representations(self) -> dict[str, RepresentationConfig]:
        """The representations to compare, by name."""
        table = {name: entry_config(entry) for name, entry in REPRESENTATIONS.items()}
        every = table | self.variants
        return {name: every[name] for name in self.names or every}

    @property
    def cost(self) -> str:
        fitted = sum(config.trainable for config in self.representations.values())
        return f"{len(self.games)} x {fitted} models, {self.minutes:g} minutes each"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the result after each game and representation; finished ones are kept."""
        rows = []
        about = {"frames": self.frames, "minutes": self.minutes, "least_entropy": LEAST_ENTROPY}
        for game in self.games:
            data = folder / self.kind / f"{game}-random"
            for name, config in self.representations.items():
                path = folder / self.kind / f"{game}-{name}.json"
                settings = (replace(self, games=(game,), names=(name,), variants={}), config)
                rows.append(kept(path, settings, partial(self._row, game, name, config, data)))
                yield about | {"rows": rows}

    def _row(
        self, game: str, name: str, config: RepresentationConfig, data: Path
    ) -> dict[str, Any]:
        env = AtariConfig(game, PROTOCOLS["mfec"])
        record_random_play(env, data, frames=self.frames, seed=self.seed, privileged=True)
        print(f"{game}: fitting and probing {name}.", flush=True)
        row = {"env_name": game, "representation": name} | self._probe(config, Recording(data))
        return row | {"provenance": process_provenance()}

    def _probe(self, config: RepresentationConfig, recording: Recording) -> dict[str, Any]:
        """Fit a representation and return R2 of every place on the test episodes."""
        pick_threads(1)
        offered = recording.manifest.privileged
        columns = config.privileged_columns(offered)
        shape = (1, 1, len(columns)) if columns else recording.obs_shape(1)
        model = config.build(obs_shape=shape, seed=self.seed)
        about = self._fit(model, config, recording) if config.trainable else {}

        def keys(rows: Int64[Tensor, " M"]) -> Float[Tensor, "M D"]:
            parts = torch.split(rows, ENCODED)
            if columns is None:
                return torch.cat([model.encode(recording.observations(part)) for part in parts])
            state = recording.columns["privileged"][rows][:, columns]
            return model.encode(state[:, None, None])

        places = [i for i, name in enumerate(offered) if name.endswith(("_x", "_y"))]
        state = recording.columns["privileged"].float()
        varying = [i for i in places if entropy(state[:, i]) >= LEAST_ENTROPY]
        labels = state[:, varying]
        fit, validation, test = split_rows(recording)
        predicted, penalties = chosen_ridge(
            *(keys(fit), labels[fit]), *(keys(validation), labels[validation]), keys(test)
        )
        names = [offered[i] for i in varying]
        r2 = r_squared(predicted, labels[test]).tolist()
        return about | {
            "key_length": model.dim,
            "frames": [len(rows) for rows in (fit, validation, test)],
            "r2": dict(zip(names, r2, strict=True)),
            "penalties": dict(zip(names, penalties.tolist(), strict=True)),
            "left_out": [offered[i] for i in places if i not in varying],
        }

    def _fit(
        self, model: Representation, config: RepresentationConfig, recording: Recording
    ) -> dict[str, Any]:
        """Update a model until its time is over."""
        job = RepresentationPretraining(
            data=tuple(recording.folders), representation=config, held_out=HELD_OUT
        )
        batches = job.batches(recording, model)
        recording.frames(job.rows(recording, "train"))  # decoded before the time begins
        begin = time.process_time()
        for batch in for_minutes(batches, self.minutes):
            model.update(batch)
        return {"num_updates": batches.count, "seconds": time.process_time() - begin}


def split_rows(recording: Recording) -> tuple[Int64[Tensor, " M"], ...]:
    """Return the rows that fit probes, choose their penalties and test them, by whole episodes."""
    fit = recording.start_indices("train", held_out=HELD_OUT)
    held_out = recording.start_indices("held-out", held_out=HELD_OUT)
    test = recording.start_indices("held-out", held_out=TEST)  # a part of those
    return fit, held_out[~torch.isin(held_out, test)], test
