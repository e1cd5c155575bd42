"""An index of the ids of a batch and the hashes of their requests. Each id takes 20 bytes."""

from __future__ import annotations

import struct

BUCKETS = 1 << 14
ENTRY = 20
_ID = struct.Struct("<q")
_SEEN = struct.Struct("<I")
# Stored instead of a row's number: the id is in the file of answers, and no row of the input had it so far.
ANSWERED, FAILED = 0xFFFFFFFF, 0xFFFFFFFE
_LARGEST = FAILED - 1

# The results of `look_up`.
NEW = "new"
SAME = "same"  # the same request was answered before
FAILED_BEFORE = "failed before"
CHANGED = "changed"  # the id was answered before, for a different request
REPEATED = "repeated"  # an earlier row of this input has the same id and request
CONFLICT = "conflict"  # an earlier row of this input has the same id and a different request


class ResumeIndex:
    """Stores which ids the file of answers contains, as answered or failed, and which ids the input has contained.

    An entry consists of 8 bytes of the id's hash, 8 bytes of the request's hash, and 4 bytes for the number of the row
    with this id. It is in one of 16,384 byte arrays, selected by 14 more bits of the id's hash. The probability that
    any two of ten million ids are confused is about 2 in 10^10.

    The id is hashed by hash() of Python, which takes a third of the time of SHA-256. Its result is different in each
    process, so it is not stored in a file.
    """

    def __init__(self) -> None:
        self._buckets = [bytearray() for _ in range(BUCKETS)]
        self.answered = 0  # ids with an answer in the file
        self.failed = 0  # ids with a failure in the file
        self.unseen = 0  # ids with an answer in the file that the input has not contained so far

    def load(self, key: bytes, body_sha256: str, mark: int = ANSWERED) -> bool:
        """Add an answer from the file. Return False if the id already has an answer, which is then kept."""
        bucket, id, at = self._find(key)
        new = bytes.fromhex(body_sha256[:16]) + _SEEN.pack(mark)
        if at >= 0:
            if mark != ANSWERED or _SEEN.unpack_from(bucket, at + 16)[0] != FAILED:
                return False
            bucket[at + 8 : at + ENTRY] = new
            self.failed -= 1
        else:
            bucket += id + new
        self.answered += 1
        self.unseen += 1
        return True

    def has(self, key: bytes, body_sha256: str) -> bool:
        """True if the id is in the index with this request."""
        bucket, _, at = self._find(key)
        return at >= 0 and bucket.startswith(bytes.fromhex(body_sha256[:16]), at + 8)

    def load_failure(self, key: bytes) -> None:
        """Add the id of a failure from the file, unless the file also has an answer to this id."""
        if self.load(key, "0" * 16, FAILED):
            self.failed += 1
            self.answered -= 1
            self.unseen -= 1

    def look_up(self, key: bytes, body_sha256: str, number: int) -> tuple[str, int]:
        """Record that row `number` has this id and request.

        Return a constant from NEW to CONFLICT; and for REPEATED and CONFLICT the number of the earlier row, else 0.
        """
        bucket, id, at = self._find(key)
        new = bytes.fromhex(body_sha256[:16]) + _SEEN.pack(number if number < _LARGEST else _LARGEST)
        if at < 0:
            bucket += id + new
            return NEW, 0
        earlier = _SEEN.unpack_from(bucket, at + 16)[0]
        is_same = bucket.startswith(new[:8], at + 8)
        if earlier < FAILED:
            return (REPEATED if is_same else CONFLICT), earlier
        bucket[at + 8 : at + ENTRY] = new
        if earlier == FAILED:
            return FAILED_BEFORE, 0
        self.unseen -= 1
        return (SAME if is_same else CHANGED), 0

    def _find(self, key: bytes) -> tuple[bytearray, bytes, int]:
        id = _ID.pack(hash(key))
        bucket = self._buckets[hash(key + b"\0") % BUCKETS]
        at = bucket.find(id)
        while at % ENTRY and at >= 0:
            at = bucket.find(id, at + 1)
        return bucket, id, at
