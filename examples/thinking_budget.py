"""Limit how much a model thinks: after BUDGET characters of thinking, stop the model and ask only for the answer.

python3 examples/thinking_budget.py MODEL BUDGET PROMPT
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ostream import chat


def answer(model: str, budget: int, prompt: str) -> str:
    """Return the model's answer to `prompt`. The model thinks for about `budget` characters at most."""
    messages = [{"role": "user", "content": prompt}]
    thinking, content = "", ""
    with chat(model, messages, stream=True, think=True) as stream:
        for chunk in stream:
            thinking += chunk.message.thinking or ""
            content += chunk.message.content or ""
            if len(thinking) > budget and not content:
                break  # leaving the block closes the connection, and the server stops generating
        else:
            return content
    messages[0]["content"] += f"\n\nYour notes so far:\n{thinking[:budget]}\n\nAnswer now, without further thinking."
    return chat(model, messages, think=False).message.content or ""


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    print(answer(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
