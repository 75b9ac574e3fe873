"""Let the groups Support and Cashier see the results of matches, the journal and the ledger.

The migration also creates the permissions, because Django creates permissions only after all migrations.
"""

from typing import Any

from django.db import migrations

_SEE = ("matchresult", "paymentevent", "ledgerentry")
_ROLES = ("Support", "Cashier")


def extend_roles(apps: Any, schema_editor: Any) -> None:
    """A group that was deleted is not created again."""
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    content_types = apps.get_model("contenttypes", "ContentType").objects
    for model in _SEE:
        content_type, _ = content_types.get_or_create(app_label="payments", model=model)
        name = f"Can view {apps.get_model('payments', model)._meta.verbose_name}"
        permission, _ = permission_model.objects.get_or_create(
            codename=f"view_{model}", content_type=content_type, defaults={"name": name}
        )
        for group in group_model.objects.filter(name__in=_ROLES):
            group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("playmatatu", "0003_roles"),
        ("payments", "0009_lists_of_the_journal"),
    ]

    operations = [migrations.RunPython(extend_roles, migrations.RunPython.noop)]
