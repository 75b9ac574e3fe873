from django.db import migrations, models

from payments.migrations._unlocked import AddIndexUnlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('game', '0009_words_of_the_trade'),
    ]

    operations = [
        AddIndexUnlocked(
            model_name='entry',
            index=models.Index(condition=models.Q(('opened_at__isnull', False), ('session', None)), fields=['payment'], name='entry_unplayed'),
        ),
    ]
