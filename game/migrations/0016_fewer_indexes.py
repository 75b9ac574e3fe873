import django.db.models.deletion
from django.db import migrations, models

from payments.migrations._unlocked import AddIndexUnlocked, drop_indexes_unlocked


class Migration(migrations.Migration):
    """Index the matches of entries that have one, and drop the indexes that no query uses.

    Only the state of the field changes: in the database, Django would also make the foreign key again, which locks the
    table while all rows are checked.
    """

    atomic = False

    dependencies = [
        ("game", "0015_search_by_newest_name"),
    ]

    operations = [
        AddIndexUnlocked(
            model_name="entry",
            index=models.Index(
                condition=models.Q(("session__isnull", False)), fields=["session"], name="entry_session"
            ),
        ),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="entry",
                    name="session",
                    field=models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="entries",
                        to="game.session",
                        verbose_name="match",
                    ),
                ),
            ],
        ),
        drop_indexes_unlocked(
            game_entry_session_id_9c4d6487="game_entry (session_id)",
            # For searches by the first characters of a code, a phone number or a token.
            game_entry_match_code_88a135b2_like="game_entry (match_code varchar_pattern_ops)",
            game_player_phone_662d8cbd_like="game_player (phone varchar_pattern_ops)",
            game_session_token_ae95e697_like="game_session (token varchar_pattern_ops)",
        ),
    ]
