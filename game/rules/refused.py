"""The exception for a stake that is not accepted."""

from game.wording import Sentence


class Refused(Exception):
    """A stake or request that the rules refuse, with a sentence for its player.

    `status`: of the HTTP response; `field`: the wrong input, if there is one; `retry_after`: seconds; `values`: for the
    sentence's placeholders. `message` is English, for the API; `translated` is in the language of the page.
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
