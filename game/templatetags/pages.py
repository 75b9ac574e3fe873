"""Template tags and filters of the players' pages."""

from typing import Any

from django import template
from django.conf import settings

from sms.formats import ugx

register = template.Library()
register.filter(ugx)


@register.simple_tag
def own_languages() -> list[tuple[str, str]]:
    """Return the site's languages, each named in its own language."""
    return list(settings.LANGUAGES)


@register.simple_tag
def site_facts() -> dict[str, Any]:
    """Return the template variables that every page needs."""
    facts = {"support": settings.SUPPORT_CONTACT, "terms": settings.TERMS_URL, "age": settings.MIN_AGE}
    return facts | {"sandbox": settings.SANDBOX_URL}


@register.filter
def commas(amount: int) -> str:
    """Return the amount with commas, as in `5,000`. Amounts are written like this in each language of the site."""
    return f"{amount:,}"
