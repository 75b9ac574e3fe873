from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("payments", "0017_fewer_indexes"),
    ]

    operations = [
        migrations.AddField(
            model_name="payment",
            name="signal_due_since",
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
    ]
