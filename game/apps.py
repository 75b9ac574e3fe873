from django.apps import AppConfig


class GameConfig(AppConfig):
    name = "game"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # In this order: the entry is opened first, then the texts say what came of it.
        from game import receivers  # noqa: F401, I001
        from game import notifications  # noqa: F401
        from game import references
        from sms.references import register

        register("session", references.of_session)
        register("payment", references.of_payment)
        register("invite", references.of_invite)
