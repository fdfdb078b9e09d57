"""index.html: the results, the figures, and what made them, in one file that needs nothing else."""

from base64 import b64encode
from dataclasses import dataclass
from html import escape

from stages.report.region import region
from stages.report.stylesheet import STYLE

TITLE = "Adversarial prompt tuning: results"
ALONE = (  # browsers keep the page from running a script and from asking for anything
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
    "style-src 'unsafe-inline'\">"
    '<link rel="icon" href="data:,">'
)
READING = """
<p>Accuracy in percent. Under an attack it is <b>robust accuracy</b>: the share of test images that are classified
rightly both clean and under the attack. <b>Oblivious</b> threats were crafted without the prompts: their attacker does
not know which prompt defends. <b>Adaptive</b> threats were crafted through the very prompt under test. Only a gain that
an adaptive attacker leaves standing is robustness against one who knows the defence; and a stronger attack can only
lower it.</p>
<p>In brackets, the 95 % Wilson interval: it covers the sampling of the n test images, not the tuning. ± is the standard
deviation over tuning seeds. <b>Within noise</b> means that McNemar's exact paired test on the same images (every tuning
seed, Holm-corrected over the table) gives p ≥ 0.05, or that the difference is not more than twice the standard
deviation over the seeds; a line of one seed cannot tell the latter. Not told apart is not shown equal.</p>
"""
ASSESSMENT = """
<p>The evaluation is attacked itself: signs of masked gradients, weak attacks or leaks are looked for, on the first
tuning seed of one prompt; lines that compare threats by name compare its rows in the table, of all seeds there. A
<b>fail</b> means that a robust accuracy above may be the attack's weakness and not the prompt's strength.</p>
"""
COSTS = """
<p>Counted from the parameters, not measured, so that the report is the same wherever it is made: how often an image
goes through the image tower, forth and back (gradients) or forth alone (passes), through a transfer attack's surrogate
forth and back, and how often all classes go through the text tower forth and back. ≤: images that are fooled already
rest.
The prompts of other studies (halves of the classes, moved contexts) come on top.</p>
"""
LEADS = (
    "What it gains",
    "What it costs",
    "What an adaptive attacker leaves",
    "A bank that knows its attacker",
    "Caution",
)
SECTIONS = {
    "results": "Results",
    "figures": "Figures",
    "trust": "Can the attacks be trusted?",
    "costs": "What each stage costs",
    "origins": "What made them",
}


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        png: The picture.
        title: A few words.
        caption: How to read it.
    """

    png: bytes
    title: str
    caption: str


def page(
    verdict: list[str],
    overviews: list[str],
    results: list[str],
    notes: list[list[str]],
    pictures: dict[str, Picture],
    assessment: str,
    costs: str,
    origins: list[str],
) -> str:
    """The whole page.

    Args:
        verdict: What it all comes to: four sentences, perhaps a caution; plain text.
        overviews: Tables over several data sets, HTML; none for a single one.
        results: One table per data set, HTML.
        notes: What each table says, sentences of plain text.
        pictures: The figures, embedded, by the names of their files.
        assessment: What is to be said of the attacks themselves, HTML.
        costs: What each stage costs, HTML.
        origins: Tables that say what made the results, HTML.
    """
    tables = "".join(table + bullets(said) for table, said in zip(results, notes, strict=True))
    parts = {
        "results": f"{''.join(overviews)}{tables}<h3>How to read it</h3>{READING}",
        "figures": "".join(figure(name, picture) for name, picture in pictures.items()),
        "trust": ASSESSMENT + assessment,
        "costs": COSTS + costs,
        "origins": "".join(origins),
    }
    sections = "\n".join(
        f'<section id="{name}"><h2>{SECTIONS[name]}</h2>{content}</section>' for name, content in parts.items()
    )
    head = (
        f'<meta charset="utf-8">{ALONE}<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{STYLE}</style>"
    )
    body = f"<header><h1>{TITLE}</h1>{box(verdict)}{contents()}</header>\n<main>\n{sections}\n</main>"
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def box(verdict: list[str]) -> str:
    """The verdict, each sentence under what it speaks of."""
    said = zip(LEADS, verdict, strict=False)
    return (
        f'<div class="verdict">{"".join(f"<p><b>{lead}</b> {escape(sentence)}</p>" for lead, sentence in said)}</div>'
    )


def contents() -> str:
    """Links to the sections."""
    links = "".join(f'<li><a href="#{name}">{title}</a></li>' for name, title in SECTIONS.items())
    return f'<nav aria-label="Contents"><ul>{links}</ul></nav>'


def bullets(sentences: list[str]) -> str:
    """Sentences as a list."""
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def figure(name: str, picture: Picture) -> str:
    """A picture inside the page, with the words for those who do not see it, and the name of its file."""
    source = f"data:image/png;base64,{b64encode(picture.png).decode()}"
    image = f'<img src="{source}" alt="{escape(f"{picture.title}. {picture.caption}")}">'
    title, caption, file = (escape(text) for text in (picture.title, picture.caption, f"{name}.png"))
    below = f"<figcaption><b>{title}.</b> {caption} <small>({file})</small></figcaption>"
    return f"<figure>{region(image, picture.title)}{below}</figure>"
