"""Keys of stored states: a digest of everything that they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FORMAT = b"rag-kv-2"


@dataclass(frozen=True)
class Keys:
    """Makes keys for one model and one user.

    States depend on token ids, so nothing of a tokenizer is in a key.

    Args:
        model: The model's fingerprint (`fingerprint.fingerprint`).
        salt: The user's; chosen by the server, never by a request.
    """

    model: str
    salt: str = ""

    def of(self, kind: str, before: Iterable[Sequence[int]], ids: Sequence[int]) -> str:
        """The key of the states of `ids` behind `before`: SHA-256, hexadecimal.

        Every field is hashed with its length, so that no two lists of fields hash alike.

        Args:
            kind: What is stored: `chunk`, `chain`, `craft`.
            before: The token ids of the segments that the states were computed behind.
            ids: The tokens themselves.
        """
        digest = hashlib.sha256()
        fields = [FORMAT, self.model.encode(), self.salt.encode()]
        fields += [kind.encode(), *(_bytes(one) for one in before), b"|", _bytes(ids)]
        for one in fields:
            digest.update(len(one).to_bytes(8, "little") + one)
        return digest.hexdigest()


def _bytes(ids: Sequence[int]) -> bytes:
    return b"".join(int(one).to_bytes(4, "little") for one in ids)
