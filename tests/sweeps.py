"""Sweeps on the command line."""


def variants(*overrides):
    """A sweep of these variants, each given as its overrides with spaces between them."""
    lists = ",".join(f"[{','.join(map(repr, one.split()))}]" for one in overrides)
    return f"hydra.sweeper.variants=[{lists}]"
