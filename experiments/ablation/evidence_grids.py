"""The grids behind the verdicts on parts of agents, on envs that are small enough for two cores.

Each has a baseline (the absence of the part where there is one), models, and the privileged
reference where the env offers one; the seeds, 10 or more, are analyzed once. Grids without a
reference have 5 or more. An agent with a bonus is compared by its training, since a bonus stays in
its action values. Agents that learn in a model are compared by their evaluation, and explore for as
many real steps as the baseline: 8 imagined steps are one real step.
"""

import functools
import shlex
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from ..config.arguments import parse_known_flags
from .ablate_options import AblateOptions
from .grid import Grid, make_grid
from .saved_scores import whole_seeds

DEEP_SEA = (
    "dqn env:deep-sea {bonuses} "
    "agent.network:mlp --agent.network.hidden 64 64 --agent.end-epsilon 0.01 "
    "--agent.exploration-steps 1000 --agent.learning-starts 500 --agent.buffer-size 100000 "
    "--agent.learning-rate 1e-3 --agent.target-network-frequency 400 --num-envs 8 "
    "--env.size {size} --total-timesteps {steps} --seeds {seeds} --seeds-together {seeds} "
    "--score training-mean --episodes 8 --no-video --device cpu --precision fp32"
)
COUNTS = "bonus:none,pseudo-count,simhash+scale=0.1,surprise,true-counts+scale=0.1"
JOINT = "+no-update-per-frame"
"""A learned density takes one update for the frames of a timestep."""
LEARNED = (
    "bonus:none,rnd,exemplar,episodic,pseudo-count+form=gain,true-counts+scale=0.1 bonus.density:"
    + ",".join(f"{name}{JOINT}" for name in ("pixel-cnn", "made", "flow", "pixel-rnn", "bound"))
)
# The surprise of a network ranks these frames by their visits, where the gain of one update hardly
# does; but the plain pixel-cnn is blind to position, and so its surprise to the column. Networks
# are small, as the frames; orderless is too slow for the grid above as it is.
SURPRISES = "bonus:none,true-counts+scale=0.1,surprise bonus.density:cts," + ",".join(
    f"{name}{JOINT}"
    for name in (
        *("pixel-cnn", "made", "pixel-rnn+hidden=8+layers=1+head=16"),
        *("orderless+passes=2+maps=16+blocks=2", "bound", "flow"),
    )
)
PPO_IN_MAZES = (
    "agent.network:mlp --agent.network.hidden 256 256 "
    "--agent.bptt-length 16 --agent.num-steps 16 --agent.clip-coef 0.2 --agent.no-clip-vloss "
    "--agent.learning-rate 1e-3 --agent.anneal-steps {steps} --num-envs 256 --env.loops 0.2 "
    "--env.rooms {rooms} --env.view {view} --total-timesteps {steps} --seeds {seeds} "
    "--episodes 256 --stochastic --no-video --device cpu --precision fp32"
)
"""Evaluated as trained: the mode of a policy can repeat a loop until an episode's time-out."""
MAZE = (
    "ppo env:maze agent.planner:reactive,figar+max-repetitions=8,straw+length=10+filters=5,"
    f"strawe+length=10+filters=5,shortest-path {PPO_IN_MAZES}"
)
VARIATIONAL = (
    "ppo env:maze agent:ppo,ppo+free-energy+plan-kl-coef=1e-3+ent-coef=1e-3 "
    "agent.planner:strawe,strawe+prior=learned --agent.planner.length 10 "
    f"--agent.planner.filters 5 {PPO_IN_MAZES}"
)
ATARI_PLANS = (
    "ppo --games ms_pacman agent.planner:reactive,figar,straw,strawe "
    "--agent.anneal-steps 300000 --total-timesteps 300000 --seeds 5 --episodes 30 --stochastic "
    "--no-video --device cpu --precision bf16"
)
COSTS = [(1e-4, 1e-2), *((k, r) for k in (0, 1e-4, 1e-3) for r in (0, 1e-3, 1e-2))]
PLAN_SETTINGS = (
    "ppo env:maze agent:"
    + ",".join(f"ppo+plan-kl-coef={k:g}+replan-coef={r:g}" for k, r in dict.fromkeys(COSTS))
    + " agent.planner:strawe --agent.planner.length 10 --agent.planner.filters 5 "
    + PPO_IN_MAZES
)
MEMORY = (
    "mfec env:minatar --games breakout,asterix "
    "agent.representation:projection,dct,vae,vae+beta=4.0,binary-vae,semi-vae,draw,contrastive,"
    "inverse,bigan,true-state "
    "--agent.fit-after 10000 --agent.fit-updates 2000 --num-envs 16 --total-timesteps 100000 "
    "--seeds 12 --episodes 30 --no-video --device cpu --precision fp32"
)
SHORT_DQN = "monte-carlo-weight=0+learning-starts=2000+exploration-steps=20000+buffer-size=100000"
DRQ = (
    "monte-carlo-weight=0+dueling+n-step=10+end-epsilon=0.01+exploration-steps=5000"
    "+buffer-size=100000+learning-starts=1600+replay-ratio=1+target-network-frequency=1"
    "+learning-rate=1e-4"
)
MEMORY_SETTINGS = (
    "mfec --games ms_pacman agent:{agents} --protocol {protocol} "
    "--env.protocol.stack 4 --env.protocol.life-loss --total-timesteps 300000 --seeds 5 "
    "--episodes 30 --protocols +eval-epsilon=0 --no-video --device cpu --precision fp32"
)
DQN_SETTINGS = (
    f"dqn-short --games ms_pacman agent:dqn+{SHORT_DQN},dqn+{DRQ},dqn+{DRQ}+random-shift=4 "
    "--num-envs 4 --total-timesteps 100000 --seeds 5 --episodes 30 --no-video --device cpu "
    "--precision bf16"
)
DENSE = (
    "dqn-minatar --games breakout,asterix bonus:none,pseudo-count,simhash,surprise,true-counts "
    "--total-timesteps 300000 --seeds 12 --seeds-together 12 --score training-end --episodes 30 "
    "--no-video --device cpu --precision fp32"
)
DOOR_KEY = (
    "ppo env:gym --import minigrid --env.id MiniGrid-DoorKey-5x5-v0 "
    "--env.wrappers minigrid.wrappers:ImgObsWrapper "
    "bonus:none,pseudo-count+scale=0.01,simhash+scale=0.01,episodic+scale=0.01,"
    "rnd+scale=0.1+update-proportion=1.0+learning-rate=1e-3,exemplar+form=count+scale=0.01 "
    "agent.network:mlp --agent.learning-rate 1e-3 --agent.anneal-steps 0 --agent.clip-coef 0.2 "
    "--agent.num-steps 64 --num-envs 16 --total-timesteps 60000 --first-seed 100 --seeds 12 "
    "--seeds-together 12 --score training-mean --episodes 8 --no-video --device cpu "
    "--precision fp32"
)
CATCH_DQN = (
    "learning-rate=1e-3+learning-starts=200+target-network-frequency=200+buffer-size=100000"
    "+end-epsilon=0.02"
)
CATCH = (
    f"dqn env:catch agent:dqn+{CATCH_DQN}+exploration-steps=1000+monte-carlo-weight=0,"
    f"dyna+inner.{CATCH_DQN.replace('+', '+inner.')}+inner.exploration-steps=8000"
    "+model-learning-starts=200+imagination-every=64 agent.predictor:tiny,tiny-mlp,"
    "tiny-rssm,tiny-diffusion,emulator --num-envs 8 --total-timesteps 3000 --first-seed 200 "
    "--seeds 12 --episodes 100 --no-video --device cpu --precision fp32"
)
MINATAR_DQN = (
    "learning-rate=2.5e-4+learning-starts=1000+target-network-frequency=1000+buffer-size=100000"
    "+end-epsilon=0.01+monte-carlo-weight=0"
)
MINATAR_DREAMS = (
    f"dqn-minatar --games breakout agent:dqn+{MINATAR_DQN}+exploration-steps=10000,"
    f"dyna+inner.{MINATAR_DQN.replace('+', '+inner.')}+inner.exploration-steps=80000"
    "+model-learning-starts=2000 agent.predictor:tiny,tiny-diffusion,emulator "
    "--total-timesteps 30000 --seeds 12 --episodes 100 --no-video --device cpu --precision fp32"
)


@dataclass(frozen=True)
class Evidence:
    """A grid that answers a question about a role."""

    question: str
    argv: tuple[str, ...]
    """The arguments of ``reverie ablate``, without a folder."""
    referenced: bool = True
    """Whether a variant reads the true state; settings, and plans on Atari, have no such one."""

    @property
    def cost(self) -> str:
        """What is computed, in a few words, or which module is missing."""
        if self.needs:
            return f"needs {self.needs}"
        grid, options = _grid(self.argv)
        timesteps = next(iter(grid.cells)).total_timesteps
        return f"{len(grid.cells) * len(options.part)} x {timesteps:,} steps"

    @property
    def needs(self) -> str:
        """The name of a missing module that the envs need; empty if there is none."""
        module = self.argv[self.argv.index("--import") + 1] if "--import" in self.argv else ""
        return module if module and not find_spec(module) else ""

    def seeds(self, path: Path) -> tuple[int, range]:
        """Return the number of seeds, from the first on, that a result has whole, and all seeds."""
        grid, options = _grid(self.argv)
        command = shlex.join(["reverie", "ablate", *self.argv])
        whole = whole_seeds(path, command, len(grid.cells))
        number = next((i for i, x in enumerate(options.part) if x not in whole), len(options.part))
        return number, options.part

    def lacking(self, path: Path, at_most: int = 0) -> list[str]:
        """Return the flags of a command for the seeds that a result lacks, or for ``at_most``.

        A result that has all seeds lacks all: it is made anew.
        """
        number, seeds = self.seeds(path)
        left = seeds[number:] or seeds
        part = left[: at_most or len(left)]
        return [] if part == seeds else ["--only-seeds", f"{part[0]}-{part[-1]}"]


@functools.cache
def _grid(argv: tuple[str, ...]) -> tuple[Grid, AblateOptions]:
    options, rest = parse_known_flags(AblateOptions, [*argv], "reverie ablate")
    return make_grid(rest, options.games), options


def _evidence(question: str, argv: str, **settings: int | str) -> Evidence:
    return Evidence(question, tuple(argv.format(**settings).split()))


EVIDENCE = {
    **{
        f"deep-sea-{size}": _evidence(
            "count: which density explores?",
            DEEP_SEA,
            bonuses=COUNTS,
            size=size,
            steps=1_000 * size**2,
            seeds=12,
        )
        for size in (10, 20, 30)
    },
    "deep-sea-10-learned": _evidence(
        "count: which learned model explores?",
        DEEP_SEA,
        bonuses=LEARNED,
        size=10,
        steps=40_000,
        seeds=10,
    ),
    "deep-sea-10-surprise": _evidence(
        "count: and by surprise?",
        DEEP_SEA,
        bonuses=SURPRISES,
        size=10,
        steps=40_000,
        seeds=10,
    ),
    **{
        f"maze-{rooms}": _evidence(
            "plan: do macro-actions pay?",
            MAZE,
            rooms=rooms,
            view=4 * rooms - 3,
            steps=500_000,
            seeds=12,
        )
        for rooms in (3, 4)
    },
    "plan-settings": replace(
        _evidence(
            "plan: what should a plan cost?", PLAN_SETTINGS, rooms=3, view=9, steps=500_000, seeds=5
        ),
        referenced=False,
    ),
    "variational-mdp": replace(
        _evidence(
            "plan: does the variational MDP pay?",
            VARIATIONAL,
            rooms=3,
            view=9,
            steps=500_000,
            seeds=12,
        ),
        referenced=False,
    ),
    "atari-plans": replace(
        _evidence("plan: and do macro-actions pay on Atari?", ATARI_PLANS), referenced=False
    ),
    "minatar-keys": _evidence("remember: which key remembers?", MEMORY),
    **{
        name: replace(
            _evidence(
                f"remember: which {about}, on Atari?",
                MEMORY_SETTINGS,
                agents=agents,
                protocol=protocol,
            ),
            referenced=False,
        )
        for name, about, protocol, agents in (
            (
                "mfec-settings",
                "discount and storing",
                "mfec",
                "mfec,mfec+gamma=0.99,mfec+store-at-lost-life,mfec+gamma=0.99+store-at-lost-life",
            ),
            (
                "mfec-kernels",
                "kernel",
                "mfec",
                "mfec,mfec+kernel=inverse-distance,mfec+kernel=laplace",
            ),
            (
                "mfec-updates",
                "update under chance",
                "machado",
                "mfec,mfec+update=average,mfec+update=average+update-rate=0.3",
            ),
        )
    },
    "dqn-settings": replace(
        _evidence("baseline: which settings, in 100,000 steps?", DQN_SETTINGS), referenced=False
    ),
    "minatar-bonuses": _evidence("count: and where reward is dense?", DENSE),
    "minigrid-bonuses": replace(
        _evidence("count: and behind a locked door?", DOOR_KEY), referenced=False
    ),
    "catch-dreams": _evidence("imagine: is the model good enough to learn in?", CATCH),
    "minatar-dreams": _evidence("imagine: and where a model is harder to learn?", MINATAR_DREAMS),
}
"""By the name of the committed result, in the order in which ``reverie reproduce evidence`` runs
them."""
