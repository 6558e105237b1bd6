"""A dream is an environment: laws of worlds, Gymnasium's own wrappers, and agents that dream."""

from dataclasses import dataclass, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from test_agents import DQN, EXAMPLES, OPTIONS, TINY
from test_predictors import first_look, segment
from torch import Tensor

from agents.actor_critic import ActorCriticConfig
from agents.dreamer import DreamerConfig
from agents.episodic import EpisodicConfig
from agents.informed import OWN, InformedConfig, visited
from agents.interface import AgentConfig
from agents.loop import interact
from agents.networks import MLPConfig
from agents.policies import COIN, RandomPolicy
from agents.shooting import ShootingConfig, draw, imagined_return, refit
from agents.simhash import SimHashConfig
from agents.simulator import context_of
from envs import dice
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.errors import UsageError
from envs.interface import EnvSpec, Memory, Segment, Step, Transition
from envs.protocol import PROTOCOLS
from envs.stream import Stream
from experiments import Experiment, cli, train
from experiments.collect import collect
from experiments.control import PLAYERS, control, player_row
from experiments.dreams import ImaginationConfig
from experiments.evaluation import evaluate_run
from experiments.horizons import Ahead, moving, shown
from experiments.predictors import PredictorPretraining, compare
from experiments.pretraining import PretrainOptions, pretrain
from experiments.run import Run
from world_models.interface import PlannerConfig, Prediction
from world_models.planning.action_repeat import ActionRepeatConfig
from world_models.planning.straw import STRAWeConfig
from world_models.prediction.imagination import Imagination
from world_models.prediction.recurrent import RecurrentConfig
from world_models.prediction.stochastic import StochasticConfig

SHAPE = (1, 2, 3)


class Counting:
    """A known world: the first pixel counts steps, the second shows the action, pays the action."""

    obs_shape, colours, num_actions, context, lesson = SHAPE, 1, 3, 1, (1, 1)

    def __init__(self, dies: float = 0.0) -> None:
        self.dies = dies

    def start(self, context: Segment) -> Memory:
        return {"obs": context.obs[:, -1]}

    def predict(self, state: Memory, action: Tensor) -> tuple[Prediction, Memory]:
        obs = state["obs"].clone()
        obs[:, 0, 0, 0] += 1
        obs[:, 0, 0, 1] = action.to(torch.uint8)
        discount = torch.full((len(obs),), 1 - self.dies)
        return Prediction(obs, action.float(), discount), {"obs": obs}

    def update(self, segment: Segment) -> dict[str, Any]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


def moments(count: int = 5, shape: tuple[int, int, int] = SHAPE) -> Segment:
    """Looks whose last pixel is their number."""
    piece = first_look(segment(count, 1, (1, *shape[1:]) if shape[2] >= 12 else (1, 24, 28)))
    obs = torch.zeros(count, 1, *shape, dtype=torch.uint8)
    obs[:, 0, 0, -1, -1] = torch.arange(count)
    return replace(piece, obs=obs)


def dream(n: int = 4, dies: float = 0.0, **options: Any) -> Imagination:
    return Imagination(Counting(dies), moments(), n, **{"horizon": 6} | options)


def test_a_dream_by_hand() -> None:
    """Births, rewards, the horizon and the reset tick, step by step."""
    env = dream(2, horizon=3)
    assert isinstance(env, VectorEnv)
    assert env.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    obs, _ = env.reset(seed=[7, 8])
    assert env.observation_space.contains(obs)
    begun = obs[:, 0, -1, -1].tolist()
    rows = [env.step(np.array([1, 2])) for _ in range(5)]
    assert [row[0][0, 0, 0, 0] for row in rows] == [1, 2, 3, 0, 1]
    assert [row[1].tolist() for row in rows] == [[1, 2], [1, 2], [1, 2], [0, 0], [1, 2]]
    assert [row[3].tolist()[0] for row in rows] == [False, False, True, False, False]
    assert not any(row[2].any() for row in rows)
    assert all((row[4]["discount"] == 1).all() for row in rows)
    assert [row[0][:, 0, -1, -1].tolist() for row in rows[:3]] == [begun] * 3
    assert all(env.observation_space.contains(row[0]) for row in rows)
    again, _ = env.reset(seed=[7, 8])
    assert np.array_equal(again, obs)


def test_seeds_of_dreams_are_as_gymnasium_has_them() -> None:
    """Without a seed the dice go on; None in a list is no seed for that stream alone."""
    env = dream(8, horizon=9)
    first, second, third = (env.reset(seed=seed)[0] for seed in (3, None, None))
    assert not np.array_equal(first, second)
    assert not np.array_equal(second, third)
    again = [env.reset(seed=seed)[0] for seed in (3, None)]
    assert np.array_equal([first, second], again)
    some, _ = env.reset(seed=[3, None, 5, None, 7, None, 9, None])
    every, _ = env.reset(seed=list(range(3, 11)))
    assert np.array_equal(some[::2], every[::2])
    assert len(set(some[1::2, 0, -1, -1])) > 1


def test_the_coin_of_the_dreams_dice_is_fair() -> None:
    """Lengths of dreams that end with probability 0.2 a step are geometric, from every moment."""
    stream = Stream(dream(64, dies=0.2, horizon=10_000), seed=1)
    lengths, ages, begun = [], torch.zeros(64), set()
    for t in islice(interact(stream, RandomPolicy(3)), 400):
        ages += t.valid
        begun |= set(t.step.obs[t.step.first, 0, -1, -1].tolist())
        assert torch.equal(t.next_step.discount == 0, t.next_step.last)
        lengths += ages[t.next_step.last].tolist()
        ages[t.next_step.last] = 0
    mean = sum(lengths) / len(lengths)
    assert abs(mean - 5) < 5 * (20 / len(lengths)) ** 0.5  # standard deviation sqrt(0.8) / 0.2
    assert begun == set(range(5))


def test_the_same_dream_in_arrays_and_in_tensors() -> None:
    streams = [Stream(dream(8, dies=0.1, tensors=tensors), seed=3) for tensors in (False, True)]
    pairs = zip(*(islice(interact(s, RandomPolicy(3)), 60) for s in streams), strict=True)
    for a, b in pairs:
        for name in ("obs", "reward", "discount", "first", "last", "frame"):
            assert torch.equal(getattr(a.next_step, name), getattr(b.next_step, name))


def test_gymnasium_keeps_statistics_of_dreams() -> None:
    """Each finished dream's return and length, as of any vector environment."""
    env = RecordEpisodeStatistics(dream(3, dies=0.3, horizon=5))
    env.reset(seed=1)
    totals, lengths, born, seen = np.zeros(3), np.zeros(3), np.zeros(3, np.bool_), 0
    rng = np.random.default_rng(0)
    for _ in range(60):
        _, reward, terminated, truncated, info = env.step(rng.integers(3, size=3))
        totals, lengths = np.where(born, 0, totals + reward), np.where(born, 0, lengths + 1)
        over = terminated | truncated
        for i in np.flatnonzero(over):
            assert info["_episode"][i]
            assert info["episode"]["r"][i] == totals[i]
            assert info["episode"]["l"][i] == lengths[i]
            seen += 1
        born = over
    assert seen > 20


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: dream(horizon=0), "of 0 steps"),
        (lambda: dream(num_actions=18), "has 18 actions and the predictor knows 3"),
        (lambda: Imagination(Counting(), moments(0), 2), "from 0 remembered moments"),
        (lambda: DreamerConfig(inner=DreamerConfig()), "cannot dream of Dreamer"),
        (lambda: DreamerConfig(horizon=0), "agent.horizon is 0"),
        (lambda: ShootingConfig(samples=0), "agent.samples is 0"),
        (
            lambda: InformedConfig(inner=OnPolicyConfig()),
            "around OnPolicyConfig, which learns",
        ),
        (lambda: InformedConfig(model_ratio=0.0), "needs agent.weights"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        make()


@dataclass(frozen=True)
class OnPolicyConfig(AgentConfig):
    """Learns from its own actions alone."""

    on_policy = True


def test_a_plan_is_drawn_by_its_odds_and_refit_to_the_best() -> None:
    odds = torch.tensor([[[0.5, 0.3, 0.2], [0.0, 1.0, 0.0]]])
    plans = draw(odds, 4000, dice.keys(0, "train", 1), lane=3)
    shares = [float((plans[0, :, 0] == a).float().mean()) for a in range(3)]
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.03)
    assert (plans[0, :, 1] == 1).all()
    plans = torch.tensor([[[0, 1], [2, 1], [1, 0], [1, 2]]])
    value = torch.tensor([[5.0, 4.0, 1.0, 0.0]])
    new = refit(odds, plans, value, elites=0.5, smoothing=0.3)
    expected = [[0.45, 0.1, 0.45], [0.1, 0.8, 0.1]]
    torch.testing.assert_close(new[0], torch.tensor(expected))


def test_an_imagined_return_by_hand() -> None:
    """Rewards 2, 1, 1 with discount 0.5 a step and gamma 0.9."""
    model = Counting(dies=0.5)
    state = model.start(moments(1))
    value = imagined_return(model, state, torch.tensor([[2, 1, 1]]), gamma=0.9)
    assert float(value) == pytest.approx(2 + 0.45 * 1 + 0.45**2 * 1)


@pytest.mark.parametrize("iterations", [1, 3])
def test_shooting_finds_what_pays_most(iterations: int) -> None:
    """In a world that pays the action's number, the best first action is the last one."""
    config = ShootingConfig(TINY, samples=32, horizon=4, iterations=iterations)
    agent = config.build(EnvSpec(6, 3, SHAPE), seed=0)
    agent.simulator.predictor = Counting()  # type: ignore[assignment]
    stream = Stream(dream(6), seed=0)
    step = stream.reset()
    assert agent.plan(step, agent.initial(6)).tolist() == [2] * 6


def test_visits_of_a_frame_by_hand() -> None:
    """Kernel of two frames: all alike, and three pixels apart by more than delta."""
    frame = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    trajectory = torch.zeros(1, 3, 1, 2, 2, dtype=torch.uint8)
    trajectory[0, 1, 0] = torch.tensor([[9, 9], [9, 5]])  # squares 81, 81, 81, 25
    known = torch.tensor([[False, True, True]])
    found = visited(frame, trajectory, known, sigma=2.0, delta=50.0)
    assert float(found) == pytest.approx(1 + float(np.exp(-1.5)))


def test_informed_exploration_goes_where_it_was_least() -> None:
    """The action's pixel is 0, 1 or 2; the trajectory has shown 0 and 1."""
    config = InformedConfig(TINY, inner=DQN, recent=3, delta=0.0, sigma=1.0, epsilon=1.0)
    agent = config.build(EnvSpec(2, 3, SHAPE), seed=0)
    agent.simulator.predictor = Counting()  # type: ignore[assignment]
    step, key = Stream(dream(2), seed=0).reset(), dice.keys(0, "train", 2)
    seen = step.obs[:, None].repeat(1, 3, 1, 1, 1)
    seen[:, :, 0, 0, 0] += 1
    seen[:, 2, 0, 0, 1] = 1
    count = torch.full((2,), 3)
    memory = {"dice": key, "trajectory": seen, "seen": count} | agent.simulator.initial(2)
    drawn = agent.explore(step, memory)
    assert torch.equal(drawn, dice.integers(key, 3, 1)), "chance, before there is a predictor"
    agent.simulator.updates = agent.simulator.steps = 10_000
    agent.simulator.replay.append(next(interact(Stream(dream(2)), RandomPolicy(3))), torch.zeros(2))
    assert agent.explore(step, memory).tolist() == [2, 2]


def test_it_imagines_only_for_the_streams_that_explore() -> None:
    """And acts as if it had for all: the others do as the inner agent says."""
    config = InformedConfig(TINY, inner=DQN, recent=3, epsilon=0.3, epsilon_steps=1)
    agent = config.build(EnvSpec(16, 3, SHAPE), seed=0)
    agent.simulator.predictor = Counting()  # type: ignore[assignment]
    agent.simulator.updates = agent.simulator.steps = 10_000
    agent.simulator.replay.append(
        next(interact(Stream(dream(16)), RandomPolicy(3))), torch.zeros(16)
    )
    step, memory = Stream(dream(16), seed=0).reset(), agent.initial(16)
    asked: list[int] = []
    explore = agent.explore

    def counted(step: Step, memory: Memory) -> Tensor:
        asked.append(len(step.obs))
        return explore(step, memory)

    agent.explore = counted  # type: ignore[method-assign]
    for _ in range(20):
        mine, _ = agent.inner.act(step, _own(memory), explore=False)
        action, following = agent.act(step, memory)
        coins = dice.uniform(memory["dice"], 1, COIN)[:, 0] < 0.3
        now = {name: following[name] for name in ("trajectory", "seen")}
        every = explore(step, memory | now)
        assert torch.equal(action, torch.where(coins, every, mine))
        assert asked.pop() == max(4, int(coins.sum()))
        memory = following
    assert not asked


def _own(memory: Memory) -> Memory:
    return {name: x for name, x in memory.items() if name not in OWN}


def test_chance_in_what_is_imagined_is_of_the_streams_dice() -> None:
    """Another at every tick, and the same whatever else is in the batch."""
    config = InformedConfig(StochasticConfig(size="tiny"), inner=DQN)
    simulator = config.build(EnvSpec(6, 3, SHAPE), seed=0).simulator
    step, key = Stream(dream(6), seed=0).reset(), dice.keys(0, "train", 6)
    nothing = simulator.initial(6)
    state = simulator.start(step, nothing, key)
    assert not (state["dice"] == simulator.start(step, nothing, dice.roll(key))["dice"]).any()
    rows = torch.tensor([4, 1])
    some = simulator.start(step.rows(rows), simulator.initial(2), key[rows])
    assert torch.equal(some["dice"], state["dice"][rows])


def test_a_predictor_with_a_memory_imagines_from_all_it_has_seen() -> None:
    """As from the same looks in one context; and nothing from before an episode's beginning."""
    config = ShootingConfig(RecurrentConfig(size="tiny", context=4), samples=4, horizon=2)
    stream = Stream(CatchConfig().build(4), seed=0)
    agent = config.build(stream.spec, seed=0)
    agent.simulator.updates = agent.simulator.steps = 10_000
    steps, forgotten = [], []
    for t in islice(interact(stream, agent, explore=False), 30):
        steps.append(t.step)
        if len(steps) < 4:
            continue
        key = t.memory["dice"]
        cell = agent.simulator.start(t.step, t.memory, key)["cell"]
        whole = torch.stack([step.obs for step in steps[-4:]], 1)
        births = torch.stack([step.first for step in steps[-4:]], 1)
        expected = agent.simulator.predictor.start(context_of(whole, births))["cell"]
        torch.testing.assert_close(cell, expected)
        shown = t.memory["looks"].clone()
        shown[:, 0] += 50
        other = agent.simulator.start(t.step, t.memory | {"looks": shown}, key)["cell"]
        assert torch.equal((other == cell).all(1), births[:, 1:].any(1))
        forgotten.append(bool(births[:, 1:].any()))
    assert set(forgotten) == {True, False}


def test_an_agent_around_another_refuses_what_that_one_refuses() -> None:
    around = InformedConfig(inner=EpisodicConfig())
    assert around.refuses_bonus == EpisodicConfig().refuses_bonus
    with pytest.raises(UsageError, match="Informed takes no bonus: a maximum over returns"):
        Experiment(around, bonus=SimHashConfig())


def test_the_inner_agent_of_a_dreamer_never_sees_a_real_step() -> None:
    """What it stores is imagined: real looks are brighter than any dream's."""
    config = EXAMPLES["dreamer"]
    stream = Stream(CatchConfig().build(4), seed=0)
    agent = config.build(stream.spec, seed=0)
    for t in islice(interact(stream, agent), 160):
        agent.learn(t)
    assert isinstance(config, DreamerConfig)
    assert agent.rounds == 1 + (640 - config.model_starts) // config.dream_every  # type: ignore[attr-defined]
    assert agent.inner.steps == agent.rounds * config.dreams * (config.horizon + 1)  # type: ignore[attr-defined]
    assert len(agent.simulator.replay) > 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("inner", ["dqn", "action-repeat", "strawe"])
def test_all_dreams_are_one_chain_of_ticks(inner: str) -> None:
    """So that a learner may unroll what it did over dreams' ends; saved and loaded on the way."""
    agents = {
        "dqn": DQN,
        "action-repeat": planned(ActionRepeatConfig(5)),
        "strawe": planned(STRAWeConfig(6, 3)),
    }
    config = replace(EXAMPLES["dreamer"], inner=agents[inner])
    stream = Stream(CatchConfig().build(4), seed=0)
    agent, other = (config.build(stream.spec, seed=0) for _ in range(2))
    ticks: list[Transition] = []

    def learned(learner: Any) -> None:
        learn = learner.inner.learn
        learner.inner.learn = lambda t: (ticks.append(t), learn(t))[1]

    learned(agent)
    for t in islice(interact(stream, agent), 130):
        agent.learn(t)
    other.load_state_dict(agent.state_dict())
    learned(other)
    for each in (agent, other):
        each.dream()  # type: ignore[attr-defined]
    assert len(ticks) == 10 * agent.rounds + 10  # type: ignore[attr-defined]
    ticks, again = ticks[:-10], ticks[-10:]
    for t, u in zip(again, ticks[-10:], strict=True):
        assert torch.equal(t.action, u.action)
        assert torch.equal(t.step.obs, u.step.obs)
    for before, after in pairwise(ticks):
        assert torch.equal(before.next_memory["dice"], dice.roll(before.memory["dice"]))
        assert before.next_memory is after.memory
        assert torch.equal(before.next_step.obs, after.step.obs)
        assert torch.equal(before.next_step.last, after.step.last)
    for i, t in enumerate(ticks):
        assert t.valid.any() == (i % 10 > 0), "ten ticks a round, the first between two dreams"


def planned(planner: PlannerConfig) -> ActorCriticConfig:
    """An actor-critic whose segments reach over the ends of dreams."""
    network = MLPConfig((16,))
    return ActorCriticConfig(network=network, planner=planner, horizon=16, backprop=8)


def test_errors_over_all_and_moving_pixels_by_hand() -> None:
    """A ghost in the prediction counts as moving, and so does what it missed."""
    median = torch.full((1, 1, 4), 100, dtype=torch.uint8)
    truth = torch.tensor([[[[100, 150, 105, 100]]]], dtype=torch.uint8)
    imagined = torch.tensor([[[[100, 100, 103, 130]]]], dtype=torch.uint8)
    assert moving(truth, median).tolist() == [[[False, True, False, False]]]
    ahead = Ahead()
    ahead.add("model", 1, imagined, truth, median)
    assert ahead.error("all", "model", 1) == pytest.approx((2500 + 4 + 900) / 4)
    assert ahead.error("moving", "model", 1) == pytest.approx((2500 + 900) / 2)


def test_from_recording_to_a_dream_one_can_train_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Collect, pretrain, compare, and the result as a world with the laws of worlds."""
    monkeypatch.chdir(tmp_path)
    env = CatchConfig(rows=16)
    collect(RandomPolicy(3), env, "data", frames=1200, streams=4)
    options = PretrainOptions(device="cpu", threads=1, quiet=True, log_every=120)
    monkeypatch.setattr("experiments.predictors.SEEN", 2)
    for name, sees in (("model", True), ("no-action", False)):
        predictor = replace(TINY, sees_action=sees, updates=(100, 1))
        job = PredictorPretraining(data=("data",), predictor=predictor, stack=1, steps=120)
        pretrain(job, f"runs/{name}", options)
    result = compare([Path("runs/model"), Path("runs/no-action")], moments=50, horizons=(1, 3))
    assert result["errors"]["all"].keys() == {"copy-last", "model", "no-action"}
    for h in ("1", "3"):
        errors = [result["errors"]["moving"][name][h] for name in ("model", "copy-last")]
        assert errors[0] < errors[1]
    assert Path("runs/model/figures/horizons.png").stat().st_size > 1000
    assert cli.main(["evaluate", "runs/model", "--explore", "--device", "cpu"]) == 2
    for change in ({"split": 1}, {"held_out": 0.3}):
        other = replace(job, steps=1, **change)
        pretrain(other, f"runs/{next(iter(change))}", options)
        with pytest.raises(UsageError, match="did not set the same episodes aside"):
            compare([Path("runs/model"), Path(f"runs/{next(iter(change))}")])
    pretrain(replace(job, seed=1), "elsewhere/model", options)
    both = [Path("runs/model"), Path("elsewhere/model")]
    result = compare(both, moments=50, horizons=(1,))
    assert result["errors"]["all"].keys() == {"copy-last", *map(str, both)}
    dreams = ImaginationConfig("runs/model", horizon=20, moments=100)
    world = dreams.build(4)
    stream = Stream(world, seed=1)
    ticks = list(islice(interact(stream, RandomPolicy(3)), 60))
    assert any(bool(t.next_step.last.any()) for t in ticks)
    for t in ticks:
        assert torch.equal(t.next_step.first, t.step.last)
        assert (t.next_step.reward[t.next_step.first] == 0).all()
    assert isinstance(world, gymnasium.vector.VectorEnv)
    # What learned in dreams alone is judged in the world they are of.
    train(Experiment(DQN, dreams, streams=4, steps=400), "runs/dreamt", OPTIONS)
    scores = evaluate_run("runs/dreamt", episodes=5, streams=4, device="cpu")
    assert scores.world == "catch"
    assert set(scores.scores) <= {-1.0, 1.0}
    assert scores.lengths == [15] * 5


def test_what_plays_in_coloured_dreams_cannot_be_judged_by_the_emulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    env = AtariConfig("pong", replace(PROTOCOLS["mfec"], noops=0))
    collect(RandomPolicy(6), env, "data", frames=64, streams=2, format="rgb")
    for stack in (1, 4):
        job = PredictorPretraining(data=("data",), predictor=TINY, stack=stack)
        Run.open(f"runs/{stack}", job).begin(job, 0, {"modified": False})
    world = ImaginationConfig("runs/1").evaluation
    assert isinstance(world, AtariConfig)
    assert not world.protocol.grey
    with pytest.raises(UsageError, match="show 4 coloured frames"):
        _ = ImaginationConfig("runs/4").evaluation


def test_the_players_row_by_hand() -> None:
    """Two bright rows in the player's columns; what is bright elsewhere is not looked at."""
    median = torch.full((84, 84), 100, dtype=torch.uint8)
    frames = median.repeat(2, 1, 1)
    frames[0, 40:42, 24] = 150
    frames[0, 41, 25] = 150
    frames[0, 60, 50] = 255
    found = player_row(frames, median, PLAYERS["freeway"])
    assert float(found[0]) == pytest.approx((40 + 41 + 41) / 3)
    assert found[1].isnan()


def test_the_emulator_agrees_with_itself_and_not_with_its_last_frame() -> None:
    """Freeway: a predictor that copies has the error of copying, and up and down are apart."""

    class Copying(Counting):
        num_actions = 3

        def predict(self, state: Memory, action: Tensor) -> tuple[Prediction, Memory]:
            nothing = torch.zeros(len(action))
            return Prediction(state["obs"], nothing, nothing + 1), state

    median = torch.full((84, 84), 142, dtype=torch.uint8)
    table = control({"copy": Copying()}, FREEWAY, median, 4, seen=2, starts=2, warm=6, steps=8)
    assert table["copy"] == table["copy-last"]
    assert table["reach"] > 2
    assert "copy                          mean error" in shown(ABOUT | {"control": table})
    assert control({}, CatchConfig(), median, 4, seen=2) == {}


def test_a_player_that_is_nowhere_imagined_has_no_error_but_is_lost() -> None:
    class Blank(Counting):
        num_actions = 3

        def predict(self, state: Memory, action: Tensor) -> tuple[Prediction, Memory]:
            nothing = torch.zeros(len(action))
            return Prediction(torch.zeros_like(state["obs"]), nothing, nothing + 1), state

    median = torch.full((84, 84), 142, dtype=torch.uint8)
    table = control({"blank": Blank()}, FREEWAY, median, 4, seen=2, starts=2, warm=6, steps=2)
    assert table["blank"] == {"mean": None, "median": None, "lost": 1.0}
    assert "blank                         lost in 100%" in shown(ABOUT | {"control": table})


FREEWAY = AtariConfig("freeway")
ABOUT: dict[str, Any] = {"world": "freeway", "moments": 0, "unit": "", "errors": {}}


def test_weights_of_another_net_or_world_are_refused(tmp_path: Path) -> None:
    model = TINY.build(obs_shape=(1, 6, 5), num_actions=3)
    weights = {"model": model.state_dict(), "world": "pong"}
    torch.save(weights, tmp_path / "checkpoint.pt")
    spec = EnvSpec(4, 3, (1, 10, 5))
    (tmp_path / "damaged").write_bytes(b"no weights")
    experiment = Experiment(
        ShootingConfig(TINY, weights=str(tmp_path / "checkpoint.pt")), CatchConfig()
    )
    with pytest.raises(UsageError, match="of a predictor of pong, and this is catch"):
        train(experiment, tmp_path / "run", OPTIONS)
    for path, says in (
        ("checkpoint.pt", "do not fit this predictor"),
        ("none", "no such file"),
        ("damaged", "holds no weights"),
    ):
        config = ShootingConfig(TINY, weights=str(tmp_path / path))
        with pytest.raises(UsageError, match=says):
            config.build(spec)
