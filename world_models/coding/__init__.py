"""Lossless coding of frames by the densities that predict them."""

from .prequential import decode, encode

__all__ = ["decode", "encode"]
