from django.db import migrations

from payments.migrations import _append_only


def replace(apps, schema_editor):
    _append_only.replace_late(schema_editor.connection)


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0020_late_entries'),
    ]

    operations = [migrations.RunPython(replace, migrations.RunPython.noop)]
