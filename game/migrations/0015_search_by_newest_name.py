from django.db import migrations, models
from django.db.models.functions import Upper

from payments.migrations._unlocked import AddIndexUnlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("game", "0014_plain_names"),
    ]

    operations = [
        migrations.AlterModelOptions(
            name="gameworker",
            options={"verbose_name": "background worker"},
        ),
        AddIndexUnlocked(
            model_name="entry",
            index=models.Index(
                Upper("display_name"),
                models.F("id"),
                condition=models.Q(("display_name", ""), _negated=True),
                name="entry_newest_name",
            ),
        ),
        migrations.RemoveIndex(
            model_name="entry",
            name="entry_name",
        ),
    ]
