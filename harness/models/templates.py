"""Chat templates, rendered in bounded time and memory."""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from harness.errors import ConfigError
from harness.paths import EMBEDDED

PROGRAM = Path(__file__).with_name("template_worker.py")
START_SECONDS = 300.0  # for Python and transformers, on a slow disk
RENDER_SECONDS = 20.0  # for one prompt, which takes milliseconds


def render_chat(template: str, messages: list[dict[str, Any]], tokens: dict[str, str]) -> str:
    """The text of a chat, up to where the model's answer begins.

    It is what transformers' `apply_chat_template` gives.

    Args:
        template: In Jinja.
        messages: With `role` and `content`.
        tokens: The named special tokens of the tokenizer, which a template may use.

    Raises:
        ConfigError: The template fails, or takes too much time or memory.
    """
    request = {"template": template, "messages": messages, "tokens": tokens}
    worker = _worker(os.getpid())  # a forked process must not share its parent's
    reply = worker.ask(json.dumps(request).encode())
    if "text" not in reply:
        raise ConfigError(
            f"the chat template of the model cannot be used: {reply['error']}. Put another one into"
            " its folder as chat_template.jinja"
        )
    return str(reply["text"])


@functools.cache
def own_template() -> str:
    """The chat template of the embedded model, which needs no bounds."""
    return (EMBEDDED / "chat_template.jinja").read_text(encoding="utf-8")


class _Worker:
    """The process that renders templates. It is started when it is needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        atexit.register(self.stop)

    def ask(self, request: bytes) -> dict[str, Any]:
        """The reply to a request: `text` or `error`."""
        with self._lock:
            try:
                process = self._process or self._start()
                return self._exchange(process, request, RENDER_SECONDS)
            except TimeoutError:
                self.stop()
                return {"error": f"it is not done after {RENDER_SECONDS:g} seconds"}
            except (EOFError, BrokenPipeError):
                self.stop()
                return {"error": "the program that renders it ended, perhaps for lack of memory"}

    def stop(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def _start(self) -> subprocess.Popen[bytes]:
        # -P: no file of the working directory or of this folder is taken for a library
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        self._exchange(self._process, b"", START_SECONDS)
        return self._process

    @staticmethod
    def _exchange(
        process: subprocess.Popen[bytes], request: bytes, seconds: float
    ) -> dict[str, Any]:
        """Send a request, if there is one, and wait for a line.

        Raises:
            TimeoutError: There is none in time.
            EOFError: The process ended.
            BrokenPipeError: The process had ended.
        """
        assert process.stdin is not None
        assert process.stdout is not None
        if request:
            process.stdin.write(request + b"\n")
            process.stdin.flush()
        line, until = b"", time.monotonic() + seconds
        while not line.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([process.stdout], [], [], left)[0]:
                raise TimeoutError
            part = os.read(process.stdout.fileno(), 2**16)
            if not part:
                raise EOFError
            line += part
        reply: dict[str, Any] = json.loads(line)
        return reply


@functools.cache
def _worker(_pid: int) -> _Worker:
    return _Worker()
