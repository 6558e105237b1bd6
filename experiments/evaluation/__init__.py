"""Evaluation of policies, predictors and representations."""
