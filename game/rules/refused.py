"""What a player is told when a stake is refused."""

from django.utils.translation import gettext


class Refused(Exception):
    """`status`: HTTP's; `field`: the input at fault, if one is; `retry_after`: seconds.

    `message` is English, for the API; `translated` is in the language of the page, with separators in amounts.
    `values` fill the sentence's placeholders.
    """

    def __init__(
        self, status: int, sentence: str, field: str = "", retry_after: int | None = None, **values: object
    ) -> None:
        self.status, self.field, self.retry_after = status, field, retry_after
        self.sentence, self.values = sentence, values
        self.message = sentence % values if values else sentence
        super().__init__(self.message)

    def translated(self) -> str:
        text = gettext(self.sentence)
        shown = {name: f"{value:,}" if isinstance(value, int) else value for name, value in self.values.items()}
        return text % shown if shown else text
