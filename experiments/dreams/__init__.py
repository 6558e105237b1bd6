"""Measures of predicted frames, rewards and ends beside the recorded ones, whatever predicts."""
