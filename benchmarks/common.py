"""Helpers that several benchmarks use."""

import os
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import requests

from tests.servers import Postgres, postgres_programs

ROOT = Path(__file__).parent.parent


def say(*words: Any) -> None:
    print(*words, flush=True)


@contextmanager
def temporary_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """Run a temporary PostgreSQL cluster. Exit if PostgreSQL's programs are missing.

    `durable`: with fsync.
    """
    programs = postgres_programs()
    if programs is None:
        raise SystemExit("PostgreSQL's programs are needed.")
    postgres = Postgres(programs, durable=durable)
    postgres.create()
    try:
        yield postgres
    finally:
        postgres.remove()


def alive(url: str) -> bool:
    """Return True if the URL answers with a 2xx status."""
    try:
        return requests.get(url, timeout=2).ok
    except requests.RequestException:
        return False


def tidy_when_told_to_end() -> None:
    """Let SIGTERM, as sent by `timeout`, end the benchmark like Ctrl-C does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before its end"))


def cpu_seconds(roots: Mapping[int, str]) -> dict[str, float]:
    """Return the CPU seconds used by processes and their descendants, by the name of their root (Linux).

    `roots`: names by process id. A descendant that has ended is included if its parent has waited for it, such as a
    PostgreSQL backend whose connection was closed.
    """
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # The process may have just ended.
            fields = stat.read_text().rpartition(")")[2].split()
            pid = int(stat.parent.name)
            # User and system time of the process and of its ended children.
            parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    used: dict[str, float] = defaultdict(float)
    for pid, count in ticks.items():
        root = pid
        while root not in roots and root in parents:
            root = parents[root]
        if root in roots:
            used[roots[root]] += count / os.sysconf("SC_CLK_TCK")
    return used


def idle_seconds() -> float:
    """Return the seconds for which all processors together have been idle since the machine started (Linux)."""
    fields = Path("/proc/stat").read_text().split(maxsplit=6)
    return (int(fields[4]) + int(fields[5])) / os.sysconf("SC_CLK_TCK")  # idle and iowait
