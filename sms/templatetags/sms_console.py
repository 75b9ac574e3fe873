"""The overview for the admin's pages: Django gives an app's index no view of its own to hook into."""

from typing import Any

from django import template

from sms.console import banners, overview

register = template.Library()


@register.inclusion_tag("admin/sms/overview.html", takes_context=True)
def sms_overview(context: template.Context) -> dict[str, Any]:
    request = context["request"]
    if not request.user.has_perm("sms.view_smsmessage"):
        return {}
    return {"overview": overview.gather(request.GET.get("kind")), "path": request.path, "perms": context["perms"]}


@register.inclusion_tag("admin/sms/banners.html", takes_context=True)
def sms_banners(context: template.Context) -> dict[str, Any]:
    request = context["request"]
    if not request.user.has_perm("sms.view_smsmessage"):
        return {}
    return {"shown": True, "link": True, "banners": banners.raised()}
