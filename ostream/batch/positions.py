"""Match earlier answers to rows whose ids are positions, after rows were inserted, moved or removed."""

from __future__ import annotations

from bisect import bisect_left

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

_BITS = 40  # number of low bits of an entry that hold the position; the others hold the request's hash


class PositionMatcher:
    """Finds for each row the earlier answer to the same request, even if the row has moved.

    `answers` yields the position and the request's hash of each answer. An answer takes about 50 bytes of memory. A row
    keeps the answer at its own position if the request there is the same. Otherwise, rows with equal requests get the
    answers in order: the first of these rows gets the answer with the lowest position.
    """

    def __init__(self, answers: Iterable[tuple[int, str]]) -> None:
        self._entries = sorted(int(sha256[:16], 16) << _BITS | position for position, sha256 in answers)
        self._rows: dict[int, int] = {}  # index of an entry -> the row that now has this answer
        self._cursors: dict[int, int] = {}

    def has(self, sha256: str) -> bool:
        """True if there is an answer to the request with this hash."""
        wanted = int(sha256[:16], 16)
        at = bisect_left(self._entries, wanted << _BITS)
        return at < len(self._entries) and self._entries[at] >> _BITS == wanted

    def forget_before(self, position: int) -> None:
        """Remove the answers at positions before `position`. Their rows have already been matched."""
        self._entries = [entry for entry in self._entries if _position(entry) >= position]

    def claim(self, row: int, sha256: str) -> bool:
        """Give the row an answer to its request. Return False if none is left."""
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
        """Return what happened to the answers, by their old positions: (moved, changed, gone).

        `moved` maps a position to the new position of the same request. `changed` maps a position to the position of a
        row whose request has changed. `gone` lists the positions of answers whose rows were removed.

        An answer that no row has claimed is assumed to have moved as far as the last claimed answer before it. If the
        row at the resulting position is `unanswered`, its request has changed; otherwise the answer's row was removed.
        If this gives several answers to one row, the row of all but the last answer was removed: a claimed answer is
        between them, and rows seldom change their order.
        """
        moved: dict[int, int] = {}
        owners: dict[int, int] = {}  # row whose request has changed -> position of its answer
        gone: list[int] = []
        offset = 0
        for position, at in sorted((_position(entry), at) for at, entry in enumerate(self._entries)):
            row = self._rows.get(at)
            if row is not None:
                offset = row - position
                if offset:
                    moved[position] = row
            elif position + offset in unanswered:
                if position + offset in owners:
                    gone.append(owners[position + offset])
                owners[position + offset] = position
            else:
                gone.append(position)
        return moved, {position: row for row, position in owners.items()}, gone


def _position(entry: int) -> int:
    return entry & ((1 << _BITS) - 1)
