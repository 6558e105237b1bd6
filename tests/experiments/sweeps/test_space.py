"""The space of a sweep: which flags vary, and the values that are drawn for them."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from reverie.envs.errors import UsageError
from reverie.experiments.config.config_file import ConfigFile, take_config
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.config.roles import part_at
from reverie.experiments.sweeps.space import (
    parse_dimension,
    take_spaces,
    trial_settings,
    with_settings,
)
from reverie.experiments.sweeps.sweep_options import SweepOptions
from reverie.experiments.sweeps.sweep_plan import SweepPlan, make_plan

DQN = PRESETS["dqn"]


def plan_of(args: str, **settings: object) -> SweepPlan:
    argv, file = take_config(args.split())
    return make_plan(argv, file.apply(SweepOptions(**settings)), file)  # type: ignore[arg-type]


def drawn(text: str, path: str = "agent.learning_rate", count: int = 200) -> list[float]:
    space = [parse_dimension(DQN, path, text)]
    return [x[path] for x in trial_settings(space, DQN, count, seed=3)]


def test_trials_are_the_same_whatever_their_number_and_the_other_settings() -> None:
    rate = parse_dimension(DQN, "agent.learning_rate", "1e-5..1e-3")
    gamma = parse_dimension(DQN, "agent.gamma", "0.9,0.99")
    few = [*trial_settings([rate, gamma], DQN, 5, seed=0)]
    many = [*trial_settings([gamma, rate], DQN, 50, seed=0)]
    assert many[:5] == few
    alone = [*trial_settings([rate], DQN, 5, seed=0)]
    assert [x["agent.learning_rate"] for x in few] == [x["agent.learning_rate"] for x in alone]
    assert [*trial_settings([rate, gamma], DQN, 5, seed=1)] != few


def test_a_range_is_drawn_uniformly_and_a_wide_one_by_its_logarithm() -> None:
    """The share of 200 draws below the middle is binomial, so that it is within 0.12 of a half."""
    for text, middle in (
        ("1e-5..1e-3", 1e-4),
        ("log:1e-4..5e-4", math.sqrt(5) * 1e-4),
        ("2e-4..1e-3", 6e-4),
        ("linear:1e-5..1e-3", 5.05e-4),
    ):
        values = drawn(text)
        low, high = map(float, text.rpartition(":")[2].split(".."))
        assert all(low <= x <= high for x in values)
        assert abs(sum(x < middle for x in values) / len(values) - 0.5) < 0.12, text
        assert len({*values}) == 200
    assert len(drawn("0.99..0.999", "agent.gamma")) == 200, "digits by the width of the range"


def test_whole_numbers_include_both_ends_equally() -> None:
    dimension = parse_dimension(DQN, "agent.n_step", "1..4")
    assert [dimension.value(u) for u in (0.0, 0.24, 0.26, 0.51, 0.76, 1 - 2**-24)] == [
        1, 1, 2, 3, 4, 4,
    ]  # fmt: skip
    assert {type(x) for x in drawn("1..40", "agent.n_step")} == {int}
    assert {*drawn("1..12", "agent.n_step", 99)} == {*range(1, 13)}, "all of them, each once"


def test_values_have_the_type_of_their_setting() -> None:
    for path, text, values in (
        ("agent.dueling", "true,false", (True, False)),
        ("agent.reward_clip", "1, none", (1.0, None)),
        ("agent.n_step", "1,3,3", (1, 3)),
        ("agent.gamma", "0.9,1", (0.9, 1.0)),
    ):
        dimension = parse_dimension(DQN, path, text)
        assert dimension.values == values
        assert [*map(type, dimension.values)] == [*map(type, values)]


def test_settings_are_set_at_once() -> None:
    """PPO's minibatches divide its batch: neither of the two can be changed alone."""
    ppo = replace(PRESETS["ppo"], num_envs=8)
    values = {"agent.num_steps": 6, "agent.num_minibatches": 3, "num_envs": 2}
    changed = with_settings(ppo, values)
    assert (changed.agent.num_steps, changed.agent.num_minibatches, changed.num_envs) == (6, 3, 2)


def test_draws_that_a_config_refuses_are_left_out() -> None:
    space = [parse_dimension(DQN, "agent.gamma", "0.9,3,0.99")]
    assert {x["agent.gamma"] for x in trial_settings(space, DQN, 9, seed=0)} == {0.9, 0.99}
    space = [parse_dimension(DQN, "agent.gamma", "3,4")]
    with pytest.raises(UsageError, match=r"No settings of the sweep are allowed: agent.gamma is"):
        [*trial_settings(space, DQN, 9, seed=0)]


@pytest.mark.parametrize(
    ("path", "text", "message"),
    [
        ("agent.learning_rate", "1e-3..1e-5", "a range ascends"),
        ("agent.learning_rate", "log:-1..5", "a logarithmic range has ends above 0"),
        ("agent.n_step", "1.5..3", "its ends must be whole numbers"),
        ("agent.n_step", "1,a", "each a whole number, or a range"),
        ("agent.dueling", "0..1", "it must be values separated by commas"),
        ("agent.gama", "0..1", "There is no setting agent.gama .* Did you mean gamma"),
        ("agent.network", "auto,mlp", "There is no setting agent.network"),
        ("env.game", "pong,qbert", "scores of different envs do not compare"),
        ("seed", "0..9", "the number of seeds as --seeds N"),
        ("total_timesteps", "10..99", "all trials have the same length"),
    ],
)
def test_a_wrong_space_is_refused(path: str, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_dimension(DQN, path, text)


def test_a_flag_with_a_range_or_several_values_varies_and_others_stay() -> None:
    flags = "--agent.gamma 0.9,0.99 --agent.n-step=1..3 --num-envs 4 --env.protocol.skip 2 "
    flags += "--folder a,b --agent.dueling"
    kept, spaces = take_spaces(flags.split(), DQN)
    assert spaces == {"agent.gamma": "0.9,0.99", "agent.n_step": "1..3"}
    assert kept == "--num-envs 4 --env.protocol.skip 2 --folder a,b --agent.dueling".split()


def test_a_space_in_a_file_is_that_of_the_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = "dqn env:catch --agent.gamma 0.9,0.99 --agent.learning-rate log:1e-4..3e-4 --num-envs 2"
    by_flags = plan_of(flags, trials=3)
    with pytest.raises(SystemExit):
        plan_of(f"{flags} --print-config", trials=3)
    (tmp_path / "sweep.yaml").write_text(capsys.readouterr().out)
    file = ConfigFile(tmp_path / "sweep.yaml")
    options = file.apply(SweepOptions())
    assert options.trials == 3
    by_file = make_plan([], options, file)
    assert by_file.trials == by_flags.trials
    assert by_file.identity == by_flags.identity
    fixed = plan_of(f"--config {tmp_path}/sweep.yaml --agent.gamma 0.5 --device cpu")
    assert {x.path for x in fixed.space} == {"agent.learning_rate"}
    assert {part_at(x.experiment, "agent.gamma") for x in fixed.trials} == {0.5}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("dqn --agent.gamma 0.9", "No setting varies; give one a range"),
        ("dqn bonus:none,simhash --agent.gamma 0.9,0.99", "`reverie ablate` compares parts"),
        ("dqn --agent.gamma 0.9,0.99 --seed 3", "--seed is for one run"),
        ("dqn --agent.gamma 0.9,0.99 --games pong,qbert", "A sweep is of one game"),
        ("dqn --agent.gamma 0.9,0.99 --seeds-together 2", "leave out --seeds-together"),
    ],
)
def test_a_wrong_sweep_is_refused(args: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan_of(args)


@pytest.mark.parametrize(
    ("settings", "rungs"),
    [
        ({}, (900,)),
        ({"halving": 3, "min_timesteps": 100}, (100, 300, 900)),
        ({"halving": 2, "min_timesteps": 400}, (400, 800, 900)),
        ({"halving": 3, "trials": 9}, (100, 300, 900)),
        ({"halving": 3, "trials": 2}, (900,)),
        ({"halving": 4, "trials": 20}, (57, 228, 900)),
    ],
)
def test_rungs_grow_by_the_factor_of_halving(
    settings: dict[str, int], rungs: tuple[int, ...]
) -> None:
    assert SweepOptions(**settings).rungs(900) == rungs  # type: ignore[arg-type]


def test_a_wrong_halving_is_refused() -> None:
    for settings in ({"halving": 1}, {"min_timesteps": 3}, {"halving": -2}, {"trials": 0}):
        with pytest.raises(UsageError):
            SweepOptions(**settings)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="below --total-timesteps 900"):
        SweepOptions(halving=2, min_timesteps=900).rungs(900)
