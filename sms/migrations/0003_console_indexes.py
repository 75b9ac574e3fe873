from typing import Any

from django.db import migrations, models


class AddIndexUnlocked(migrations.AddIndex):
    """Add an index without blocking writes. On PostgreSQL it is built with CONCURRENTLY."""

    atomic = False

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        if schema_editor.connection.vendor != "postgresql":
            return super().database_forwards(app_label, schema_editor, from_state, to_state)
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            # If an earlier run was interrupted, its index exists but may be incomplete.
            schema_editor.remove_index(model, self.index, concurrently=True)
            schema_editor.add_index(model, self.index, concurrently=True)


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('sms', '0002_console'),
    ]

    operations = [
        AddIndexUnlocked(
            model_name='smsevent',
            index=models.Index(condition=models.Q(('step', 'throttle')), fields=['at'], name='sms_event_throttled'),
        ),
        AddIndexUnlocked(
            model_name='smsmessage',
            index=models.Index(fields=['status', 'created_at'], name='sms_status'),
        ),
        AddIndexUnlocked(
            model_name='smsmessage',
            index=models.Index(fields=['kind', 'created_at'], name='sms_kind'),
        ),
        AddIndexUnlocked(
            model_name='smsmessage',
            index=models.Index(condition=models.Q(('status', 'sent')), fields=['sent_at'], name='sms_unreported'),
        ),
        AddIndexUnlocked(
            model_name='smsmessage',
            index=models.Index(condition=models.Q(('holds_link', True)), fields=['expires_at'], name='sms_links'),
        ),
    ]
