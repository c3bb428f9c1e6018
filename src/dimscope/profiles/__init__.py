"""Profiles: the dimension of every layer of a network."""
