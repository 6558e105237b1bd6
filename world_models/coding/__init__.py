"""Lossless coding of frames by the densities that predict them, or by latent-variable models."""

from .prequential import decode, encode

__all__ = ["decode", "encode"]
