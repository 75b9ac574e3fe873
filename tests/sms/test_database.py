"""`close_if_unavailable`: which errors mean that the database is unavailable, and which close the connection."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import DataError, InterfaceError, InternalError, OperationalError, ProgrammingError, connections

from sms import database

ROOT = Path(__file__).parents[2]


def error(kind: type[Exception], sqlstate: str) -> Exception:
    """Return an error of class `kind` as Django raises it, with the driver's error as its cause."""
    wrapped = kind("the driver's words")
    wrapped.__cause__ = psycopg.errors.lookup(sqlstate)("the driver's words") if sqlstate else None
    return wrapped


@pytest.mark.parametrize(
    ("kind", "sqlstate", "unavailable", "closed"),
    [
        (InternalError, "25006", True, True),  # read-only transaction
        (InternalError, "25P03", True, True),  # idle-in-transaction timeout
        (InternalError, "25P04", True, True),  # transaction timeout
        (OperationalError, "", True, True),  # connection lost
        (OperationalError, "57P01", True, True),  # administrator's shutdown
        (OperationalError, "53300", True, True),  # too many connections
        (InterfaceError, "", True, True),  # connection closed
        (OperationalError, "55P03", True, False),  # lock timeout
        (OperationalError, "57014", True, False),  # statement timeout
        (OperationalError, "40P01", True, False),  # deadlock
        (InternalError, "25P02", False, False),  # a statement in a failed transaction is a defect of the program
        (ProgrammingError, "42P01", False, False),  # a missing table is a defect of the program
        (DataError, "22003", False, False),
        (ValueError, "", False, False),
    ],
)
def test_which_errors_mean_unavailable(
    kind: type[Exception], sqlstate: str, unavailable: bool, closed: bool, monkeypatch: Any
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(connections["default"], "close", lambda: calls.append("close"))
    assert database.close_if_unavailable(error(kind, sqlstate)) is unavailable
    assert bool(calls) is closed


def test_inside_a_transaction_the_connection_is_left_to_django(monkeypatch: Any) -> None:
    calls: list[str] = []
    monkeypatch.setattr(connections["default"], "close", lambda: calls.append("close"))
    monkeypatch.setattr(connections["default"], "in_atomic_block", True, raising=False)
    assert database.close_if_unavailable(OperationalError("the connection is closed"))
    assert not calls


def test_the_two_copies_are_equal() -> None:
    """`sms` and `payments` must not import each other, so each of them has these functions."""
    ours = (ROOT / "sms" / "database.py").read_text()
    assert ours[ours.index("# SQLSTATEs") :].strip() in (ROOT / "payments" / "database.py").read_text()
