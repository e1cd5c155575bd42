"""The ids of a batch with the hashes of their requests, in 20 bytes each."""

from __future__ import annotations

import hashlib
import struct

BUCKETS = 1 << 14
ENTRY = 20
_SEEN = struct.Struct("<I")
# In place of a row's number: the id is in the file of answers, and the input has not had it yet.
ANSWERED, FAILED = 0xFFFFFFFF, 0xFFFFFFFE
_LARGEST = FAILED - 1

# What `look_up` finds.
NEW = "new"
SAME = "same"  # answered before
FAILED_BEFORE = "failed before"
CHANGED = "changed"  # answered before, to another request
REPEATED = "repeated"  # an earlier row of this input has the same id and request
CONFLICT = "conflict"  # an earlier row of this input has the same id and another request


class ResumeIndex:
    """Which ids are answered or have failed in the file, and which ones the input has had.

    An entry is 8 bytes of the id's hash, 8 of the request's, and the number of the row that had it. It is in the one
    of 16,384 byte arrays that 14 more bits of the id's hash select. So two of ten million ids are taken for the same
    with a probability of 1 : 10^10.
    """

    def __init__(self) -> None:
        self._buckets = [bytearray() for _ in range(BUCKETS)]
        self.answered = 0  # in the file
        self.failed = 0
        self.unseen = 0  # answered in the file, and not in the input so far

    def load(self, key: bytes, body_sha256: str) -> bool:
        """Add an answer of the file. Return False if the id is there already; its first answer counts."""
        return self._load(key, body_sha256, ANSWERED)

    def load_failure(self, key: bytes) -> None:
        """Add the id of a failure in the file."""
        if self._load(key, "0" * 16, FAILED):
            self.failed += 1
            self.answered -= 1
            self.unseen -= 1

    def _load(self, key: bytes, body_sha256: str, mark: int) -> bool:
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

    def look_up(self, key: bytes, body_sha256: str, number: int) -> tuple[str, int]:
        """Note that a row has this id and request. Return what is known of it, and the number of an earlier row."""
        bucket, id, at = self._find(key)
        body, mark = bytes.fromhex(body_sha256[:16]), _SEEN.pack(min(number, _LARGEST))
        if at < 0:
            bucket += id + body + mark
            return NEW, 0
        earlier = _SEEN.unpack_from(bucket, at + 16)[0]
        is_same = bucket[at + 8 : at + 16] == body
        if earlier == ANSWERED:
            self.unseen -= 1
            bucket[at + 8 : at + ENTRY] = body + mark
            return (SAME if is_same else CHANGED), 0
        if earlier == FAILED:
            bucket[at + 8 : at + ENTRY] = body + mark
            return FAILED_BEFORE, 0
        return (REPEATED if is_same else CONFLICT), earlier

    def _find(self, key: bytes) -> tuple[bytearray, bytes, int]:
        digest = hashlib.sha256(key).digest()
        bucket, id = self._buckets[int.from_bytes(digest[:2], "big") % BUCKETS], digest[2:10]
        at = bucket.find(id)
        while at % ENTRY and at >= 0:
            at = bucket.find(id, at + 1)
        return bucket, id, at
