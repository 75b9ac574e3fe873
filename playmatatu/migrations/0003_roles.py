"""Create the groups Support and Cashier.

The migration also creates the permissions of the groups, because Django creates permissions only after all migrations.
"""

from typing import Any

from django.db import migrations

_SEE = [
    ("sms", "smsmessage", "view_smsmessage"),
    ("sms", "smspause", "view_smspause"),
    ("sms", "smssuppression", "view_smssuppression"),
    ("sms", "smsinbound", "view_smsinbound"),
    ("sms", "smsmessage", "view_full_phone"),
    ("game", "player", "view_player"),
    ("game", "entry", "view_entry"),
    ("game", "session", "view_session"),
    ("payments", "payment", "view_payment"),
    ("payments", "refund", "view_refund"),
    ("payments", "callback", "view_callback"),
    ("playmatatu", "playernote", "view_playernote"),
    ("playmatatu", "playernote", "add_playernote"),
]
ROLES = {
    "Support": [*_SEE, ("sms", "smsmessage", "resend_smsmessage")],
    "Cashier": [*_SEE, ("payments", "payment", "refund_payment"), ("payments", "payment", "settle_payment")],
}
_NAMES = {
    "view_full_phone": "Can see phone numbers in full",
    "resend_smsmessage": "Can send an SMS again",
    "refund_payment": "Can refund a payment",
    "settle_payment": "Can say what became of a payment, and end a contest",
}


def create_roles(apps: Any, schema_editor: Any) -> None:
    """Create the groups. An existing group with the same name keeps its other permissions."""
    group_model, permission_model = apps.get_model("auth", "Group"), apps.get_model("auth", "Permission")
    content_types = apps.get_model("contenttypes", "ContentType").objects
    for role, permissions in ROLES.items():
        group, _ = group_model.objects.get_or_create(name=role)
        for app, model, codename in permissions:
            content_type, _ = content_types.get_or_create(app_label=app, model=model)
            verb = codename.partition("_")[0]
            name = _NAMES.get(codename, f"Can {verb} {apps.get_model(app, model)._meta.verbose_name}")
            permission, _ = permission_model.objects.get_or_create(
                codename=codename, content_type=content_type, defaults={"name": name}
            )
            group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [
        ("playmatatu", "0002_player_notes"),
        ("sms", "0011_smsdismissal"),
        ("game", "0013_search_by_name"),
        ("payments", "0004_collected_before"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [migrations.RunPython(create_roles, migrations.RunPython.noop)]
