from django.db import migrations, models
from django.db.models.functions import Right, Upper

from payments.migrations._unlocked import AddIndexUnlocked


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('game', '0012_ended_at'),
    ]

    operations = [
        AddIndexUnlocked(
            model_name='player',
            index=models.Index(Right('phone', 6), name='player_last_digits'),
        ),
        AddIndexUnlocked(
            model_name='entry',
            index=models.Index(Upper('display_name'), condition=models.Q(('display_name', ''), _negated=True), name='entry_name'),
        ),
    ]
