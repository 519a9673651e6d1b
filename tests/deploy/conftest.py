"""What the tests of the server share with these."""

from tests.serve.conftest import doors

__all__ = ["doors"]
