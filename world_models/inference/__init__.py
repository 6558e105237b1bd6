"""Variational inference, independent of models: model x bound x gradient estimator = algorithm.

A latent-variable model is anything with a prior, a posterior and a likelihood; bounds, estimators
and estimates of the evidence are pure functions of its log-weights, [S, B].
"""
