from django.apps import AppConfig


class SmsConfig(AppConfig):
    name = "sms"
    verbose_name = "SMS"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from sms import checks, clock  # noqa: F401
        from sms.sending import pauses  # noqa: F401
