from django.db import migrations, models


class Migration(migrations.Migration):
    """Change labels only. The table stays as it is."""

    dependencies = [("payments", "0013_unknown_words")]

    operations = [
        migrations.AlterField(
            "callback", "applied", models.BooleanField(default=False, verbose_name="changed the payment")
        ),
        migrations.AlterField(
            "callback",
            "source",
            models.CharField(
                choices=[("momo", "callback"), ("dmarkpay", "DMarkPay's notification")],
                db_default="momo",
                default="momo",
                max_length=10,
            ),
        ),
        migrations.AlterField(
            "payment", "contested", models.BooleanField(db_default=False, default=False, verbose_name="disputed")
        ),
    ]
