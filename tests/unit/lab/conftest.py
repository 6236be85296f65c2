from __future__ import annotations

from tests.unit.call.conftest import identity

__all__ = ["identity"]
