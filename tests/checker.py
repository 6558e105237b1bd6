"""Shapes and types are enforced under pytest, by jaxtyping's import hook and this checker."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
