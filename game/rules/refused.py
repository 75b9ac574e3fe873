"""The exception for requests that the rules of the game do not allow."""

from game.wording import Sentence


class Refused(Exception):
    """A request that the rules do not allow, with a sentence for the player.

    `status`: the HTTP status; `field`: the input with the error, if any; `retry_after`: seconds; `values`: for the
    placeholders in the sentence.

    `message` is in English, for the API; `translated` is in the active language, for the pages.
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
