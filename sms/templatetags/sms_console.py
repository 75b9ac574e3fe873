"""Template tags for the overview of sending and the banners."""

from typing import Any

from django import template

from sms.console import banners, overview

register = template.Library()
register.filter(banners.failed_url)


@register.inclusion_tag("admin/sms/overview.html", takes_context=True)
def sms_overview(context: template.Context) -> dict[str, Any]:
    request = context["request"]
    if not request.user.has_perm("sms.view_smsmessage"):
        return {}
    return {"overview": overview.gather(request.GET.get("kind")), "path": request.path, "perms": context["perms"]}


@register.inclusion_tag("admin/sms/banners.html", takes_context=True)
def sms_banners(context: template.Context, attention: object = None) -> dict[str, Any]:
    """Show the banners about sending.

    `attention`: True if the page shows another problem. "Texts are being sent normally" is then not shown in green.
    """
    request = context["request"]
    if not request.user.has_perm("sms.view_smsmessage"):
        return {}
    return {"shown": True, "link": True, "banners": banners.raised(), "attention": attention}


@register.filter
def grouped(number: int) -> str:
    """Format a count as `1,234`."""
    return f"{number:,}"
