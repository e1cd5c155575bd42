"""The ids a batch has answered, each with the hash of its request, in 16 bytes."""

from __future__ import annotations

import hashlib

BUCKETS = 1 << 14
ENTRY = 16


class ResumeIndex:
    """Which ids have been answered, and to which body; 16 bytes for each.

    An entry is half of it a hash of the id, half of it of the body. It lies in the one of 16,384 strings that 14 more
    bits of the id's hash choose. So two of ten million ids are taken for one with a chance of 1 : 10^10, and then a run
    stops and names the id; one is taken for answered that is not only if 64 bits of the body's hash agree as well.
    """

    def __init__(self) -> None:
        self._buckets = [b""] * BUCKETS
        self.count = 0

    def add(self, key: bytes, body_sha256: str) -> bool:
        """Note an id; False if it is there already. Raises ValueError if it is there with another body."""
        digest = hashlib.sha256(key).digest()
        number = int.from_bytes(digest[:2], "big") % BUCKETS
        bucket, id, body = self._buckets[number], digest[2:10], bytes.fromhex(body_sha256[:16])
        at = bucket.find(id)
        while at % ENTRY and at >= 0:
            at = bucket.find(id, at + 1)
        if at >= 0:
            if bucket[at + 8 : at + ENTRY] != body:
                raise ValueError("the same id with another body")
            return False
        self._buckets[number] = bucket + id + body
        self.count += 1
        return True
