"""Count the SMS segments of a text by the standard 3GPP TS 23.038."""

from dataclasses import dataclass

_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_ESCAPED = frozenset("\f^{}\\[~]|€")
_ALPHABET = _GSM | _GSM_ESCAPED


@dataclass(frozen=True, slots=True)
class Segments:
    """The size of a text. `length`: code units (some characters take two). `count`: number of segments."""

    encoding: str
    length: int
    count: int


def segments(text: str) -> Segments:
    if _ALPHABET.issuperset(text):
        return _count("GSM-7", [2 if char in _GSM_ESCAPED else 1 for char in text], single=160, joined=153)
    return _count("UCS-2", [2 if ord(char) > 0xFFFF else 1 for char in text], single=70, joined=67)


def _count(encoding: str, units: list[int], single: int, joined: int) -> Segments:
    length = sum(units)
    if length <= single:
        return Segments(encoding, length, 1 if length else 0)
    count, used = 1, 0
    for unit in units:
        # A character of two units must not be split between two segments.
        if used + unit > joined:
            count, used = count + 1, 0
        used += unit
    return Segments(encoding, length, count)
