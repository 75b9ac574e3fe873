"""What a player is told when a stake is refused."""

from game.wording import Sentence


class Refused(Exception):
    """`status`: HTTP's; `field`: the input at fault, if one is; `retry_after`: seconds.

    `message` is English, for the API; `translated` is in the language of the page. `values` fill the sentence's
    placeholders.
    """

    def __init__(
        self, status: int, sentence: str, field: str = "", retry_after: int | None = None, **values: object
    ) -> None:
        self.status, self.field, self.retry_after = status, field, retry_after
        self.sentence = Sentence(sentence, values)
        self.message = str(self.sentence)
        super().__init__(self.message)

    def translated(self) -> str:
        return self.sentence.translated()
