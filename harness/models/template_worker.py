"""Program that renders chat templates: a line of JSON in, a line of JSON out.

A template comes with a model and may loop without end or grow without bound. So it is rendered by a
process of its own with little memory, which whoever asked can end.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

MEMORY = 2 * 2**30  # bytes
LONGEST = 2**20  # characters of a prompt


def main() -> None:
    """Answer requests until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    _write({"ready": True})
    for line in sys.stdin.buffer:
        request: dict[str, Any] = json.loads(line)
        try:
            rendered: Any = render_jinja_template(
                conversations=[request["messages"]],
                chat_template=request["template"],
                add_generation_prompt=True,
                **request["tokens"],
            )
        except Exception as error:  # noqa: BLE001  # whatever a template may raise
            _write({"error": f"{type(error).__name__}: {str(error)[:300]}"})
        else:
            text = rendered[0][0]
            fits = len(text) <= LONGEST
            _write({"text": text} if fits else {"error": f"it makes {len(text)} characters"})


def _write(reply: dict[str, object]) -> None:
    sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
