"""Agents: policies that act in environments and learn from them."""
