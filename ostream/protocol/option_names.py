"""The names of model options."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# The model options of current servers, followed by the options that only old servers support.
OPTION_NAMES = (
    *("num_keep", "seed", "num_predict", "top_k", "top_p", "min_p", "typical_p", "repeat_last_n", "temperature"),
    *("repeat_penalty", "presence_penalty", "frequency_penalty", "stop", "num_ctx", "num_batch", "num_gpu", "main_gpu"),
    *("use_mmap", "num_thread", "draft_num_predict"),
)
OLD_OPTION_NAMES = (
    *("numa", "low_vram", "f16_kv", "logits_all", "vocab_only", "use_mlock", "embedding_only", "tfs_z", "mirostat"),
    *("mirostat_tau", "mirostat_eta", "penalize_newline"),
)


def misspelling(name: Any) -> str:
    """Return a hint if `name` is not the name of an option but resembles one, otherwise ""."""
    if isinstance(name, str) and name not in OPTION_NAMES:
        from difflib import get_close_matches

        for known in get_close_matches(name, OPTION_NAMES, 1, 0.8):
            return f"servers may ignore {name}; did you mean {known}?"
    return ""
