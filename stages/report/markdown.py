"""Text inside Markdown: nothing in it is taken for Markdown or HTML, and it stays on its line."""

import re
from html import escape
from string import punctuation

PLAIN = frozenset(" -,;:./()%+='\"@?^")  # what of the punctuation means nothing in the middle of a line
ADDRESS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)  # of which GitHub makes a link unasked


def markdown(text: str) -> str:
    """Text as it is read.

    A backslash stands before each sign that could mean something, `&`, `<` and `>` become HTML's names for them, and
    whatever cannot be seen is written as Python writes it.
    """
    return ADDRESS.sub(r"\\\g<0>", "".join(map(literal, text)))


def literal(character: str) -> str:
    """One character of such a text."""
    if character in "&<>":
        return escape(character)
    if not character.isprintable():
        return character.encode("unicode_escape").decode()  # a backslash and a letter, which mean nothing
    return f"\\{character}" if character in punctuation and character not in PLAIN else character
