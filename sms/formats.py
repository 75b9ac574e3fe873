"""Format counts, amounts, times, durations and phone numbers for operators, in the same way on every page."""

from datetime import datetime

from django.utils import timezone

from sms.text.redaction import mask_phone

# Counting stops at this number, because counting all rows of a large table would make a page slow.
MANY = 10_000


def counted(number: int) -> str:
    """Format a count as `7`, `1,234` or `10,000 or more`. Counting stops at MANY (10,000)."""
    return f"{number:,} or more" if number >= MANY else f"{number:,}"


def texts(number: int) -> str:
    """Format a number of messages as `1 text`, `1,234 texts` or `10,000 or more texts`."""
    return f"{counted(number)} text{'' if number == 1 else 's'}"


def ugx(amount: float) -> str:
    """Format an amount of money as `3,500 UGX`."""
    return f"{amount:,.0f} UGX"


def moment(at: datetime) -> str:
    """Format a time as `28 Nov 2026, 07:15` in the site's time zone. In templates, use `|date:"j M Y, H:i"`."""
    local = timezone.localtime(at)
    return f"{local.day} {local:%b %Y, %H:%M}"


def span(seconds: float) -> str:
    """Format a duration as `0.3 s`, `42 s`, `5 min`, `3 h 10 min` or `2 days`."""
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


def spaced(phone: str) -> str:
    """Format `+256772000001` as `0772 000 001`. Return a number from another country unchanged."""
    if not (phone.startswith("+256") and len(phone) == 13):
        return phone
    return f"0{phone[4:7]} {phone[7:10]} {phone[10:]}"


def masked(phone: str) -> str:
    """Format `+256772000001` as `0772 ••• 001`, for users who may not see full phone numbers."""
    if not (phone.startswith("+256") and len(phone) == 13):
        return mask_phone(phone)
    return f"0{phone[4:7]} ••• {phone[10:]}"
