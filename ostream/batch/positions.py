"""Match earlier answers with rows whose ids are positions, after rows were inserted, moved or removed."""

from __future__ import annotations

from bisect import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

_BITS = 40  # of an entry that are the position


class PositionMatcher:
    """Gives each row the earlier answer to the same request, wherever the row was.

    `answers` are positions with the hashes of their requests; about 50 bytes of memory each. A row keeps the answer
    at its own position if the request is the same; otherwise equal requests are served in the order of their answers.
    """

    def __init__(self, answers: Iterable[tuple[int, str]]) -> None:
        self._entries = sorted(int(sha256[:16], 16) << _BITS | position for position, sha256 in answers)
        self._rows: dict[int, int] = {}  # index of an entry: the row that has its answer now
        self._cursors: dict[int, int] = {}

    def has(self, sha256: str) -> bool:
        """True if there is an answer to this request."""
        wanted = int(sha256[:16], 16)
        at = bisect_left(self._entries, wanted << _BITS)
        return at < len(self._entries) and self._entries[at] >> _BITS == wanted

    def forget_before(self, position: int) -> None:
        """Leave out the answers before this position: their rows have them already."""
        self._entries = [entry for entry in self._entries if _position(entry) >= position]

    def claim(self, row: int, sha256: str) -> bool:
        """Give the row its answer. Return False if there is none."""
        wanted = int(sha256[:16], 16)
        entry = wanted << _BITS | row
        at = bisect_left(self._entries, entry)
        if not (at < len(self._entries) and self._entries[at] == entry and at not in self._rows):
            at = self._cursors.get(wanted, bisect_left(self._entries, wanted << _BITS))
            while at in self._rows:
                at += 1
            self._cursors[wanted] = at
            if at == len(self._entries) or self._entries[at] >> _BITS != wanted:
                return False
        self._rows[at] = row
        return True

    def settle(self, unanswered: set[int]) -> tuple[dict[int, int], dict[int, int], list[int]]:
        """Return what became of the answers, by position: (moved to a row, changed row, no row any more).

        An answer that no row has claimed belongs to a changed row if the row where it would be now, judging by the
        answer before it, is `unanswered`.
        """
        moved: dict[int, int] = {}
        changed: dict[int, int] = {}
        gone: list[int] = []
        offset = 0
        for position, at in sorted((_position(entry), at) for at, entry in enumerate(self._entries)):
            row = self._rows.get(at)
            if row is not None:
                offset = row - position
                if offset:
                    moved[position] = row
            elif position + offset in unanswered:
                changed[position] = position + offset
            else:
                gone.append(position)
        return moved, changed, gone


def _position(entry: int) -> int:
    return entry & ((1 << _BITS) - 1)
