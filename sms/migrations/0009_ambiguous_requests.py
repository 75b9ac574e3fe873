from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sms", "0008_rename_pause_and_suppression")]

    # The column keeps its name, so that the previous release can use the same database.
    operations = [
        migrations.AlterField(
            model_name="smsmessage",
            name="doubts",
            field=models.PositiveSmallIntegerField(
                db_column="doubts", db_default=0, default=0, verbose_name="ambiguous requests"
            ),
        ),
        migrations.RenameField(model_name="smsmessage", old_name="doubts", new_name="ambiguous_requests"),
        migrations.AddField(
            model_name="smsworker",
            name="receivers_behind",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
    ]
