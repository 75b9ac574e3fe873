import importlib

from django.db import migrations, models

AddIndexUnlocked = importlib.import_module("sms.migrations.0003_console_indexes").AddIndexUnlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("sms", "0014_alert_claimed"),
    ]

    operations = [
        AddIndexUnlocked(
            model_name="smsmessage",
            index=models.Index(
                condition=models.Q(("lease_until__isnull", True), ("status", "queued")),
                fields=["expires_at", "id"],
                name="sms_claimable",
            ),
        ),
        migrations.RemoveIndex(model_name="smsmessage", name="sms_queued"),
    ]
