from django.db import migrations

from payments.migrations import _append_only


def install(apps, schema_editor):
    _append_only.install_late(schema_editor.connection)


def remove(apps, schema_editor):
    _append_only.remove_late(schema_editor.connection)


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0019_signal_due_index'),
    ]

    operations = [migrations.RunPython(install, remove)]
