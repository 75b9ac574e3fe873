"""Files that one process of a test run creates and all of its processes use, including child processes."""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

_NAME = "PLAYMATATU_TEST_RUN"
if _NAME not in os.environ:
    os.environ[_NAME] = tempfile.mkdtemp(prefix="playmatatu-tests-")
    atexit.register(shutil.rmtree, os.environ[_NAME], ignore_errors=True)


def created_once(name: str, create: Callable[[Path], None]) -> Path:
    """Return the folder `name` of this test run. The first process that calls this fills the folder with `create`."""
    folder = Path(os.environ[_NAME]) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            create(partial)
            partial.rename(folder)
    return folder
