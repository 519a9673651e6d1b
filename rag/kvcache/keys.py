"""Keys of stored states: a digest of everything that they depend on."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

FORMAT = b"rag-kv-2"


@dataclass(frozen=True)
class Keys:
    """Makes keys for one model and one user.

    States depend on token ids, so nothing of a tokenizer is in a key.

    Args:
        model: The model's fingerprint (`fingerprint.fingerprint`).
        salt: The user's; chosen by the server, never by a request.
        shared: Collection to the salt of those who may read it.
    """

    model: str
    salt: str = ""
    shared: Mapping[str, str] = field(default_factory=dict)

    def of(
        self, kind: str, before: Iterable[Sequence[int]], ids: Sequence[int], scope: str = ""
    ) -> str:
        """The key of the states of `ids` behind `before`: SHA-256, hexadecimal.

        Every field is hashed with its length, so that no two lists of fields hash alike.

        Args:
            kind: What is stored: `chunk`, `chain`, `craft`.
            before: The token ids of the segments that the states were computed behind.
            ids: The tokens themselves.
            scope: The collection that they are of, if they depend on nothing else that is a user's.
        """
        digest = hashlib.sha256()
        salt = self.shared.get(scope, self.salt)
        fields = [FORMAT, self.model.encode(), salt.encode()]
        fields += [kind.encode(), *(_bytes(one) for one in before), b"|", _bytes(ids)]
        for one in fields:
            digest.update(len(one).to_bytes(8, "little") + one)
        return digest.hexdigest()


def _bytes(ids: Sequence[int]) -> bytes:
    return b"".join(int(one).to_bytes(4, "little") for one in ids)
