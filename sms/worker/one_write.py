"""Write many log lines with one write.

Each write releases Python's GIL, and the thread must then wait until it gets the GIL back.
"""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_write(logger: logging.Logger) -> Iterator[None]:
    """Collect the lines logged in this block, and write them at the end of the block.

    Lines that other threads log have to wait until then.
    """
    handlers = [handler for handler in _handlers(logger) if type(handler) is logging.StreamHandler]
    streams = [(handler, handler.stream) for handler in handlers]
    for handler in handlers:
        handler.acquire()
        handler.stream = io.StringIO()
    try:
        yield
    finally:
        for handler, stream in streams:
            lines = handler.stream.getvalue()
            handler.stream = stream
            handler.release()
            if lines:
                _write(handler, lines)


def _write(handler: "logging.StreamHandler[io.StringIO]", lines: str) -> None:
    try:
        handler.stream.write(lines)
        handler.flush()
    # A failure to write the log must not stop the program. The logging module works in the same way.
    except Exception:  # noqa: BLE001
        handler.handleError(logging.makeLogRecord({"msg": lines[:500]}))


def _handlers(logger: logging.Logger) -> Iterator[logging.Handler]:
    at: logging.Logger | None = logger
    while at is not None:
        yield from at.handlers
        at = at.parent if at.propagate else None
