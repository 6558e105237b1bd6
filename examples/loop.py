"""The loop from built parts: an agent, a stream, and an iterator of transitions."""

from itertools import islice

from agents.episodic import EpisodicConfig
from agents.loop import interact
from envs.catch import CatchConfig
from envs.stream import Stream

stream = Stream(CatchConfig().build(8), seed=0)
agent = EpisodicConfig().build(stream.spec, seed=0)
caught: list[float] = []
for t in islice(interact(stream, agent), 600):
    agent.learn(t)
    caught += t.next_step.reward[t.next_step.last].tolist()
print(f"caught {caught[-100:].count(1.0)} of the last 100 balls")
