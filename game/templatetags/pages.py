"""Template tags and filters of the players' pages."""

from typing import Any

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def own_languages() -> list[tuple[str, str]]:
    """Return the languages, each named in itself. Django's own tag would translate the names."""
    return list(settings.LANGUAGES)


@register.simple_tag
def site_facts() -> dict[str, Any]:
    """Return what each page says about the site: its operator in the footer, and the phones of a demo in the header."""
    facts = {"support": settings.SUPPORT_CONTACT, "terms": settings.TERMS_URL, "age": settings.MIN_AGE}
    return facts | {"sandbox": settings.SANDBOX_URL}


@register.filter
def commas(amount: int) -> str:
    """Return `5,000`. Ugandan money is written like this in every language, whatever Django's localization says."""
    return f"{amount:,}"


@register.filter
def ugx(amount: int) -> str:
    """Return `5,000 UGX`."""
    return f"{amount:,} UGX"
