"""The agent-environment loop: a batched environment, an agent, and transitions."""

from itertools import islice

from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.loop import interact
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig

envs = BatchedEnv(CatchConfig().build(8), seed=0)
agent = MFECConfig().build(envs.spec, seed=0)
caught: list[float] = []
for t in islice(interact(envs, agent), 600):
    agent.learn(t)
    caught += t.next_step.reward[t.next_step.last].tolist()
print(f"caught {caught[-100:].count(1.0)} of the last 100 balls")
