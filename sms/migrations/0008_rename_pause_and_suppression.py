"""Rename two models. The tables keep their names, so that the previous release can use the same database."""

from django.apps import apps as installed
from django.db import migrations

RENAMED = {"smshold": "smspause", "smsnever": "smssuppression"}


def rename_permissions(apps, schema_editor):
    """Rename content types and permissions like the models, so that groups and users keep their permissions."""
    if not installed.is_installed("django.contrib.auth"):
        return
    from django.contrib.auth.models import Permission
    from django.contrib.contenttypes.models import ContentType

    alias = schema_editor.connection.alias
    tables = schema_editor.connection.introspection.table_names()
    if Permission._meta.db_table not in tables or ContentType._meta.db_table not in tables:
        return  # In a new database, Django creates them after the migrations.
    for old, new in RENAMED.items():
        ContentType.objects.using(alias).filter(app_label="sms", model=old).update(model=new)
        for permission in Permission.objects.using(alias).filter(
            content_type__app_label="sms", content_type__model=new, codename__endswith=f"_{old}"
        ):
            permission.codename = permission.codename.removesuffix(old) + new
            permission.save(update_fields=["codename"])
    ContentType.objects.clear_cache()


class Migration(migrations.Migration):
    dependencies = [("sms", "0007_leases_by_status")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.RenameModel("SmsHold", "SmsPause"),
                migrations.AlterModelTable("SmsPause", "sms_smshold"),
                migrations.RenameModel("SmsNever", "SmsSuppression"),
                migrations.AlterModelTable("SmsSuppression", "sms_smsnever"),
            ]
        ),
        migrations.RunPython(rename_permissions, migrations.RunPython.noop, elidable=True),
    ]
