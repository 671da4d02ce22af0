"""Records what every process of a sweep asks and quantizes, before it does.

Its folder is on PYTHONPATH, so that every process imports it. A record is a line in a file of the
folder that WITNESS names; files stay small, so that they can be written while others cannot.
"""

import functools
import importlib.abc
import importlib.util
import itertools
import json
import os
import sys
import time

LINES = 20  # in a file
_lines = itertools.count()


def _record(what, key, parts):
    path = os.path.join(os.environ["WITNESS"], f"{os.getpid()}-{next(_lines) // LINES}")
    line = {"at": time.time(), "process": os.getpid(), "what": what, "key": key, "parts": parts}
    with open(path, "a") as file:
        file.write(json.dumps(line) + "\n")


def _generate(real):
    @functools.wraps(real)
    def wrapped(self, batch, ahead=None):
        _record("answered", self.log.folder.name, [question.key for question in batch])
        return real(self, batch, ahead)

    return wrapped


def _quantize_block(real):
    @functools.wraps(real)
    def wrapped(block, family, quantizer, stats, label, inputs=()):
        _record("quantized", repr(quantizer), [label])
        return real(block, family, quantizer, stats, label, inputs)

    return wrapped


WATCHED = {
    "harness.evaluation.lmms_model": lambda module: setattr(
        module.LuqModel, "_generate", _generate(module.LuqModel._generate)
    ),
    "luq.pipelines.bank": lambda module: setattr(
        module, "quantize_block", _quantize_block(module.quantize_block)
    ),
}


class Witness(importlib.abc.MetaPathFinder):
    """Wraps the functions of `WATCHED` as soon as their modules have been imported."""

    def find_spec(self, name, path=None, target=None):
        if name not in WATCHED:
            return None
        watch = WATCHED.pop(name)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        spec.loader.exec_module = lambda module: (execute(module), watch(module))
        return spec


if "WITNESS" in os.environ:
    sys.meta_path.insert(0, Witness())
