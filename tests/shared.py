"""Files that one process of a test run creates and all of its processes use, including child processes."""

import atexit
import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.servers import folder_in_memory

_NAME = "PLAYMATATU_TEST_RUN"
_PATTERN = "playmatatu-*-[0-9]*-*"


def remove_leftovers() -> None:
    """Remove the files of test processes that were killed, and kill the servers that use these files.

    The name of a temporary file or folder is `playmatatu-<purpose>-<id of its process>-<rest>`.
    """
    for path in (*Path(tempfile.gettempdir()).glob(_PATTERN), *Path("/dev/shm").glob(_PATTERN)):
        owner = path.name.split("-")[2]
        if not owner.isdigit() or Path("/proc", owner).exists():
            continue
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):  # The process has ended in the meantime.
                if f"{path}/".encode() in command.read_bytes():
                    os.kill(int(command.parent.name), signal.SIGKILL)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if _NAME not in os.environ:
    remove_leftovers()
    os.environ[_NAME] = tempfile.mkdtemp(prefix=f"playmatatu-tests-{os.getpid()}-", dir=folder_in_memory())
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
