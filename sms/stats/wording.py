"""Amounts and spans of time, as an operator reads them."""

from sms.stats import pulse


def amount(number: int) -> str:
    """`1 text`, `7 texts`; beyond what is counted `10000 or more texts`."""
    return f"{number} or more texts" if number >= pulse.MANY else f"{number} text{'' if number == 1 else 's'}"


def span(seconds: float) -> str:
    """A time span in words, as `0.3 s`, `42 s`, `5 min`, `3 h 10 min`, `2 days`."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} days"
