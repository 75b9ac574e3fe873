"""Phone numbers as people write them. Each function that reads phone numbers is tested with this table."""

NUMBER = "+256772123456"

# All of these are notations of NUMBER.
GOOD: tuple[object, ...] = (
    "0772123456",
    "+256772123456",
    "256772123456",
    "00256772123456",
    "772123456",
    256772123456,
    772123456,
    " 0772 123 456 ",
    "+256 772-123-456",
    "0772-123-456",
    "0772.123.456",
    "0772/123456",
    "(0772) 123456",
    "[0772] 123 456",
    "(+256) 772 123 456",
    "+ 256 772 123 456",
    "+256 (0) 772 123 456",
    "tel:+256772123456",
    "TEL:0772-123-456",
    "tel://0772123456",
    "0772\t123\t456",
    "\t0772123456\r\n",
    "0772\u00a0123\u00a0456",  # no-break space
    "0772\u2009123\u2009456",  # thin space
    "0772\u202f123\u202f456",  # narrow no-break space
    "0772\u3000123456",  # ideographic space
    "\u202a+256772123456\u202c",  # direction marks of a contact card
    "\u200e0772123456\u200f",
    "0772\u200b123456",  # zero-width space
    "\ufeff0772123456",  # byte order mark
    "0772\u00ad123456",  # soft hyphen
    "0772\u2011123\u2011456",  # no-break hyphen
    "0772\u2013123\u2014456",  # dashes
    "0772\u2212123456",  # minus sign
    "\uff10\uff17\uff17\uff12\uff11\uff12\uff13\uff14\uff15\uff16",  # full-width digits
    "\uff0b256772123456",  # full-width plus
    "٠٧٧٢١٢٣٤٥٦",
    "0\ufe0f\u20e37\ufe0f\u20e37\ufe0f\u20e32\ufe0f\u20e3123456",  # keycap emoji
)

# None of these is a notation of NUMBER or of another Ugandan mobile number.
BAD: tuple[object, ...] = (
    "",
    "   ",
    "\u200b",
    None,
    True,
    1.5,
    [],
    {},
    b"0772123456",
    "abc",
    "0772CALLME",
    "O772123456",
    "0772123456;ext=5",
    "0772123456 ext 5",
    "0772123456x5",
    "0772123456#5",
    "0772123456,0772123457",
    "0772123456 0772123457",
    "0772123456" + " " * 50 + "0772123457",
    "0772123456 or 0772123457",
    "tel:0772123456;ext=5",
    "tel:tel:0772123456",
    "077212345",
    "07721234567",
    "-256772123456",
    -256772123456,
    "+256+772123456",
    "0772\u00b2123456",  # superscript two
    "\u2460772123456",  # circled one
    "0772123456\x00",
    "0772\x1b[0m123456",
    "+254712345678",
    "+15005550006",
    "+",
    "0" * 5000,
    "\ud800",
)

# Ugandan fixed-line numbers, which cannot receive an SMS.
FIXED: tuple[str, ...] = ("0312345678", "0392345678", "0414123456")
