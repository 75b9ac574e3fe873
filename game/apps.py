from functools import partial

from django.apps import AppConfig

# Seconds after which the database's clock is read again. Until then, a step of this clock is not noticed.
_READ_CLOCK_EVERY = 5.0


class GameConfig(AppConfig):
    name = "game"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # The import order is the order in which the signal receivers run. `payment_receivers` must activate an entry
        # before `notifications` queues messages about the entry.
        from game import payment_receivers  # noqa: F401, I001
        from game import notifications
        from game import checks, keys, sms_owner  # noqa: F401
        from game.payment_use import USE
        from payments import database, signals
        from sms import clock
        from sms.clicks import watch
        from sms.owners import register, register_samples
        from sms.suppression import register_transactional

        signals.register(USE)
        database.use_clock(partial(clock.now, every=_READ_CLOCK_EVERY))
        watch("match_found", "private_invite")
        register(keys.SESSION, sms_owner.of_session, sms_owner.matches_worth_sending)
        worth = sms_owner.payments_worth_sending, sms_owner.payments_worth_resending
        register(keys.PAYMENT, sms_owner.of_payment, *worth)
        register(keys.INVITE, sms_owner.of_invite, sms_owner.invites_worth_sending)
        register(keys.LINK, sms_owner.of_link)
        register_samples(notifications.samples)
        # Messages about a player's own money or match are sent even after the player has replied STOP.
        register_transactional(*notifications.TRANSACTIONAL)
