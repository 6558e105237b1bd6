"""The buffer of unfinished episodes gives back what it saved, whatever it held before."""

import torch

from reverie.agents.episodic.episode_buffer import EpisodeBuffer


def filled(timesteps: int, popped_at: int) -> EpisodeBuffer:
    """Return a buffer of two envs, whose episodes end at a timestep, with the timestep as data."""
    buffer = EpisodeBuffer(2, torch.device("cpu"), capacity=8)
    for t in range(timesteps):
        buffer.append(value=torch.full((2,), float(t)), valid=torch.ones(2, dtype=torch.bool))
        if t == popped_at:
            for env in range(2):
                buffer.pop(env)
    return buffer


def test_a_used_buffer_restores_all_rows() -> None:
    saved = filled(20, popped_at=-1).state_dict()
    for buffer in (filled(0, -1), filled(7, popped_at=5)):
        buffer.load_state_dict(saved)
        for env in range(2):
            assert torch.equal(buffer.rows(env)["value"], torch.arange(20.0))
