from django.db import migrations, models

from payments.migrations import _unlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('payments', '0009_lists_of_the_journal'),
    ]

    operations = [
        migrations.AddField(
            model_name='refund',
            name='signal_due',
            field=models.BooleanField(db_default=False, default=False),
        ),
        _unlocked.AddIndexUnlocked(
            model_name='refund',
            index=models.Index(condition=models.Q(('signal_due', True)), fields=['id'], name='refund_signal_due'),
        ),
    ]
