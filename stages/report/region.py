"""A part of the page that scrolls by itself where it is too wide, by the keyboard, too."""

from html import escape


def region(content: str, label: str) -> str:
    """HTML that may be wider than the page.

    Args:
        content: HTML.
        label: What a screen reader calls it; plain text.
    """
    return f'<div class="wide" role="region" tabindex="0" aria-label="{escape(label)}">{content}</div>'
