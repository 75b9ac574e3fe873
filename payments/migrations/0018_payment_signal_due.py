from django.db import migrations, models

from payments.migrations import _unlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('payments', '0017_fewer_indexes'),
    ]

    operations = [
        migrations.AddField(
            model_name='payment',
            name='signal_due_since',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        _unlocked.AddIndexUnlocked(
            model_name='payment',
            index=models.Index(condition=models.Q(('signal_due_since__isnull', False)), fields=['id'], name='payment_signal_due'),
        ),
    ]
