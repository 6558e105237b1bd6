"""Atari 2600 games: the vectorized emulator, protocols, game lists and replica emulators."""
