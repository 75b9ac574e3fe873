"""The site's WSGI application, extended to record how long each transaction holds the lock of a stake level.

Each process appends one line with the milliseconds for each commit to the file in LOCKS_HELD.
"""

import os
import threading
import time
from pathlib import Path
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper

from playmatatu.wsgi import application

__all__ = ["application"]

# This import must follow `playmatatu.wsgi`, which configures Django.
from game.rules import locks

_locked = threading.local()
_level, _commit = locks._LEVEL, BaseDatabaseWrapper.commit
_file = Path(os.environ["LOCKS_HELD"]).open("a", buffering=1)  # noqa: SIM115 - open until the process ends


def _lock(**arguments: Any) -> Any:
    found = _level(**arguments)
    _locked.at = time.perf_counter()
    return found


def _commit_and_note(wrapper: BaseDatabaseWrapper) -> None:
    try:
        _commit(wrapper)
    finally:
        at, _locked.at = getattr(_locked, "at", None), None
        if at is not None:
            _file.write(f"{(time.perf_counter() - at) * 1000:.3f}\n")


locks._LEVEL = _lock  # type: ignore[assignment]
BaseDatabaseWrapper.commit = _commit_and_note  # type: ignore[method-assign]
