"""The number of SMS segments of a text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sms.text.segments import segments


@pytest.mark.parametrize(
    ("text", "encoding", "length", "count"),
    [
        ("", "GSM-7", 0, 0),
        ("a" * 160, "GSM-7", 160, 1),
        ("a" * 161, "GSM-7", 161, 2),
        ("a" * 306, "GSM-7", 306, 2),
        ("a" * 307, "GSM-7", 307, 3),
        ("€" * 80, "GSM-7", 160, 1),
        ("€" * 81, "GSM-7", 162, 2),
        # 153 is odd: an escaped character would need units 153 and 154. It moves to the next segment, and one unit
        # stays empty.
        ("a" * 152 + "€" * 77, "GSM-7", 306, 3),
        ("ŋ" * 70, "UCS-2", 70, 1),
        ("ŋ" * 71, "UCS-2", 71, 2),
        ("ŋ" * 134, "UCS-2", 134, 2),
        ("ŋ" * 135, "UCS-2", 135, 3),
        ("😀" * 35, "UCS-2", 70, 1),
        ("😀" * 67, "UCS-2", 134, 3),
        ("it’s", "UCS-2", 4, 1),
    ],
)
def test_table(text: str, encoding: str, length: int, count: int) -> None:
    counted = segments(text)
    assert (counted.encoding, counted.length, counted.count) == (encoding, length, count)


@given(st.text())
def test_bounds(text: str) -> None:
    counted = segments(text)
    single, joined = (160, 153) if counted.encoding == "GSM-7" else (70, 67)
    if counted.length <= single:
        assert counted.count == (1 if text else 0)
    else:
        # At most one unit of each segment stays empty.
        assert -(-counted.length // joined) <= counted.count <= -(-counted.length // (joined - 1))
