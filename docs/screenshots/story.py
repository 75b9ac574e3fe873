"""An animated picture of a page beside the phones of two players, made from pictures of a browser."""

import io
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Page

_GAP, _CAPTION = 16, 52
_PAGE, _PHONE = (360, 560), (300, 560)
_COLORS = 200  # Few colors, so that 20 seconds take less than 1.5 MB.


class Story:
    """Frames with a caption, a page and the sandbox's picture of two phones."""

    def __init__(self, phones: Page, *numbers: str) -> None:
        self._phones, self._numbers = phones, numbers
        self._frames: list[Image.Image] = []
        self._milliseconds: list[int] = []

    def shoot(self, caption: str, page: Page, seconds: float) -> None:
        """Add a frame that is shown for `seconds`."""
        self._phones.wait_for_timeout(1500)  # Wait until the phones show the newest SMS.
        frame = Image.new("RGB", (_PAGE[0] + 2 * _PHONE[0] + 4 * _GAP, _PAGE[1] + _CAPTION + _GAP), "#e9eee9")
        draw = ImageDraw.Draw(frame)
        draw.text((_GAP, 12), caption, fill="#14221b", font=ImageFont.load_default(24))
        left = _GAP
        frame.paste(_picture(page.screenshot()), (left, _CAPTION))
        left += _PAGE[0] + _GAP
        for number in self._numbers:
            frame.paste(self._phone(number), (left, _CAPTION))
            left += _PHONE[0] + _GAP
        self._frames.append(frame)
        self._milliseconds.append(int(seconds * 1000))

    def save(self, path: Path) -> None:
        """Save the animation, with one palette for all frames."""
        strip = Image.new("RGB", (self._frames[0].width, sum(frame.height for frame in self._frames)))
        for index, frame in enumerate(self._frames):
            strip.paste(frame, (0, index * frame.height))
        palette = strip.quantize(_COLORS, dither=Image.Dither.NONE)
        frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self._frames]
        frames[0].save(
            path, save_all=True, append_images=frames[1:], duration=self._milliseconds, loop=0, optimize=True
        )

    def _phone(self, number: str) -> Image.Image:
        """Return the phone as the sandbox shows it, scaled to its column. Before its first SMS the phone is empty."""
        column = Image.new("RGB", _PHONE, "#e9eee9")
        region = self._phones.get_by_role("region", name=number)
        if region.count() == 0:
            draw = ImageDraw.Draw(column)
            draw.rounded_rectangle((0, 0, _PHONE[0] - 1, 540), radius=36, outline="#74857b", width=2)
            draw.text((_PHONE[0] / 2, 40), number, fill="#52605a", font=ImageFont.load_default(18), anchor="mm")
            return column
        picture = _picture(region.screenshot())
        scale = min(_PHONE[0] / picture.width, _PHONE[1] / picture.height)
        column.paste(picture.resize((int(picture.width * scale), int(picture.height * scale))), (0, 0))
        return column


def _picture(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")
