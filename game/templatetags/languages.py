"""The languages of the pages, each by its own name: Django's tag would translate the names."""

from django import template
from django.conf import settings

register = template.Library()


@register.simple_tag
def own_languages() -> list[tuple[str, str]]:
    return list(settings.LANGUAGES)
