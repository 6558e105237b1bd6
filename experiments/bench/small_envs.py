"""Benchmarks of MinAtar: its envs beside the package alone, and training beside its parts."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

from ...envs.minatar import MinAtarConfig, new_game
from ...world_models.precision import FLOAT32
from ..config.presets import PRESETS
from .interleaved import agent_loop, bare_emulators, compare, random_play
from .peers import Contender
from .session import BenchSession, Row

PACKAGE = "package alone"


def minatar(session: BenchSession) -> Iterator[Row]:
    """Measure the envs of a game, and the training of each preset beside its parts in sequence."""
    breakout, num_envs, num_timesteps = MinAtarConfig("breakout"), 64, 128
    experiment = replace(PRESETS["ppo-minatar"], env=breakout, num_envs=num_envs)
    contenders = [
        package_games(breakout, num_envs, num_timesteps),
        bare_emulators(session, experiment, num_timesteps),
        random_play(session, experiment, num_timesteps),
    ]
    yield from compare(session, contenders, f"{breakout.env_name}, {num_envs} envs", [PACKAGE])
    for name in ("dqn-minatar", "ppo-minatar"):
        yield from training(session, name, breakout)


def training(session: BenchSession, name: str, env: MinAtarConfig) -> Iterator[Row]:
    """Measure a preset's training, and acting, learning and env timed apart in the same rounds."""
    experiment = replace(PRESETS[name], env=env)
    num_timesteps = max(128, 512 // experiment.num_envs)
    loop = agent_loop(session, f"training {name}", experiment, FLOAT32, num_timesteps)
    apart = agent_loop(session, "", experiment, FLOAT32, num_timesteps)
    first_update = experiment.agent.first_update(experiment.num_envs)
    for _ in range(first_update // (num_timesteps * experiment.num_envs) + 1):
        loop.run()
        apart.run()
    transitions = list(islice(apart.transitions, num_timesteps))
    games = bare_emulators(session, experiment, num_timesteps)

    def run() -> int:
        for t in transitions:
            apart.agent.act(t.step, t.carry)
        for t in transitions:
            apart.agent.learn(t)
        return games.run()

    def close() -> None:
        games.close()
        apart.close()

    parts = Contender(f"parts of {name} in sequence", run, close)
    title = f"{env.env_name}, {experiment.num_envs} envs"
    return compare(session, [loop, parts], title, [parts.name])


def package_games(env: MinAtarConfig, num_envs: int, num_timesteps: int) -> Contender:
    """Return as many games of the package under random actions, stepped one after another."""
    games, generator = [new_game(env) for _ in range(num_envs)], np.random.default_rng(0)
    for game in games:
        game.reset()

    def run() -> int:
        for actions in generator.integers(6, size=(num_timesteps, num_envs)).tolist():
            for game, action in zip(games, actions, strict=True):
                _, ended = game.act(action)
                if ended:
                    game.reset()
                game.state()
        return num_timesteps * num_envs

    return Contender(PACKAGE, run)
