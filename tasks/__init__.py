"""Suites: task files of lmms-eval and lm-eval, with the functions that they name."""
