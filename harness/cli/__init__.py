"""The command line: Hydra, the terminal, help."""
