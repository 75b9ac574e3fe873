"""What the pages' templates need beyond Django's own."""

from typing import Any

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def own_languages() -> list[tuple[str, str]]:
    """The languages, each by its own name: Django's tag would translate the names."""
    return list(settings.LANGUAGES)


@register.simple_tag
def house() -> dict[str, Any]:
    """Who runs the site."""
    return {"support": settings.SUPPORT_CONTACT, "terms": settings.TERMS_URL, "age": settings.MIN_AGE}


@register.filter
def commas(amount: int) -> str:
    """`5,000` in every language: Ugandan money is written so, whatever Django does with a language's numbers."""
    return f"{amount:,}"
