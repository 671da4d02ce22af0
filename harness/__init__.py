"""The experiment: configuration, models, data, evaluation inside lmms-eval, files."""

__version__ = "0.1.0"
