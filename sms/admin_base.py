"""Base classes for the admins of all apps: strict filters, bounded lists, read-only pages, and masked phone numbers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from sms.formats import masked, spaced

# A list shows and counts at most this many rows. To see other rows, operators filter the list.
LONGEST_LIST = 10_000


class BoundedPaginator(Paginator):
    """A paginator that counts at most LONGEST_LIST rows, because counting a large table would slow the page down."""

    object_list: "QuerySet[Any]"

    @cached_property
    def count(self) -> int:
        return self.object_list.order_by()[:LONGEST_LIST].count()


class StrictLookups(admin.ModelAdmin):
    """An admin that refuses all URL filters except those in `list_filter` and `linked_lookups`.

    By default, Django allows filters on any column. A user could then read a hidden text letter by letter with
    `?text__regex=…`. `linked_lookups`: filters that links on our own pages use.
    """

    linked_lookups: Sequence[str] = ()

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        return lookup in (*self.linked_lookups, *self._offered(request))

    def _offered(self, request: HttpRequest) -> Iterator[str]:
        for item in self.get_list_filter(request):
            if isinstance(item, type) and issubclass(item, admin.SimpleListFilter):
                yield str(item.parameter_name)
                continue
            path = str(item[0] if isinstance(item, tuple | list) else item)
            yield from (path, f"{path}__exact", f"{path}__isnull", f"{path}__id__exact")


class ReadOnly:
    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission


class ByPermission:
    """Admin mixin that shows personal data in full only to users with the permission `sms.view_full_phone`.

    `in_full`: maps each masked column to the full column.
    """

    in_full: ClassVar[Mapping[Any, str]] = {"masked_phone": "full_phone"}

    def get_list_display(self, request: HttpRequest) -> Any:
        return self.permitted(request, super().get_list_display(request))  # type: ignore[misc]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.permitted(request, super().get_fields(request, obj))  # type: ignore[misc]

    def permitted(self, request: HttpRequest, names: Sequence[Any]) -> list[Any]:
        """Return `names`, with masked columns replaced by full ones if the user may see personal data in full."""
        may = request.user.has_perm("sms.view_full_phone")
        return [self.in_full.get(name, name) if may else name for name in names]

    @admin.display(description=_("phone"))
    def masked_phone(self, row: Any) -> str:
        return masked(row.phone)

    @admin.display(description=_("phone"))
    def full_phone(self, row: Any) -> str:
        return spaced(row.phone)


class BoundedAdmin(StrictLookups):
    """Admin for a large table. The list page counts at most LONGEST_LIST rows."""

    paginator = BoundedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 200
