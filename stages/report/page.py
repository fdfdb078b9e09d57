"""index.html: the results, the figures, and what made them, in one file that needs nothing else."""

from base64 import b64encode
from dataclasses import dataclass
from html import escape

TITLE = "Adversarial prompt tuning: results"
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --soft: #5a6472; --line: #d5d9de;
  --oblivious: #f1f5f9; --adaptive: #fdf1e7; --gain: #00568a; --loss: #a13d00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ed; --paper: #15181c; --soft: #9aa5b1; --line: #3a424b;
  --oblivious: #1c242d; --adaptive: #2e231a; --gain: #6cbcf0; --loss: #f2a36b; } }
* { box-sizing: border-box }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; font: 16px/1.5 system-ui, sans-serif;
  color: var(--ink); background: var(--paper) }
h1 { font-size: 1.6rem; margin: 0 0 .5rem } h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem }
p, li { max-width: 46rem } li { margin: .3rem 0 }
.wide { overflow-x: auto; margin: 1rem 0 }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums }
caption { text-align: left; font-weight: 600; padding: .3rem 0 }
th, td { padding: .35rem .7rem; text-align: left; vertical-align: top; border-top: 1px solid var(--line);
  overflow-wrap: anywhere }
th { font-weight: 500 } thead th { font-weight: 600 }
.results { width: 100% } .results td, .results thead th { text-align: right; white-space: nowrap }
.results thead th { white-space: normal; vertical-align: bottom }
.results th[scope="row"] { white-space: nowrap } .results thead th:first-child { text-align: left }
.results th small, .results td small { display: block; font-weight: 400; color: var(--soft) }
.results caption small { display: block; font-weight: 400; color: var(--soft) }
.checks thead th { white-space: nowrap }
.fail { color: var(--loss); font-weight: 700 } .warn { color: var(--loss) } .pass { color: var(--gain) }
.results .group { font-size: .95rem; padding-top: .8rem }
.oblivious { background: var(--oblivious) } .adaptive { background: var(--adaptive) }
.gain { color: var(--gain) } .loss { color: var(--loss) } .noise { color: var(--soft) }
figure { margin: 1.5rem 0 } figure img { max-width: 100%; height: auto; background: #fff; border-radius: 6px;
  border: 1px solid var(--line) }
figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem }
"""
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
<p>The evaluation is attacked itself: signs of masked gradients, weak attacks or leaks are looked for, on AdvPT's first
tuning seed. A <b>fail</b> means that a robust accuracy above may be the attack's weakness and not the prompt's
strength.</p>
"""


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
    overviews: list[str],
    results: list[str],
    notes: list[list[str]],
    pictures: list[Picture],
    assessment: str,
    origins: list[str],
) -> str:
    """The whole page.

    Args:
        overviews: Tables over several data sets, HTML; none for a single one.
        results: One table per data set, HTML.
        notes: What each table says, sentences of plain text.
        pictures: The figures, embedded.
        assessment: What is to be said of the attacks themselves, HTML.
        origins: Tables that say what made the results, HTML.
    """
    tables = "".join(table + bullets(said) for table, said in zip(results, notes, strict=True))
    sections = [
        f"<h1>{TITLE}</h1>{READING}{''.join(overviews)}{tables}",
        f"<h2>Figures</h2>{''.join(map(figure, pictures))}",
        f"<h2>Can the attacks be trusted?</h2>{ASSESSMENT}{assessment}",
        f"<h2>What made them</h2>{''.join(origins)}",
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{STYLE}</style>"
    )
    body = "\n".join(sections)
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def bullets(sentences: list[str]) -> str:
    """Sentences as a list."""
    return f"<ul>{''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences)}</ul>"


def figure(picture: Picture) -> str:
    """A picture inside the page, with the words for those who do not see it."""
    source = f"data:image/png;base64,{b64encode(picture.png).decode()}"
    alt = escape(f"{picture.title}. {picture.caption}")
    caption = f"<figcaption><b>{escape(picture.title)}.</b> {escape(picture.caption)}</figcaption>"
    return f'<figure><img src="{source}" alt="{alt}">{caption}</figure>'
