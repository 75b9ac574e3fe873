"""What a player is told when a stake is refused."""


class Refused(Exception):
    """`status`: HTTP's; `field`: the input at fault, if one is; `retry_after`: seconds. `str()` is for the player."""

    def __init__(self, status: int, message: str, field: str = "", retry_after: int | None = None) -> None:
        self.status, self.message, self.field, self.retry_after = status, message, field, retry_after
        super().__init__(message)
