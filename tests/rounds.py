"""What rounds are worth: `python -m tests.rounds` reads experiments and writes reports/rounds.csv and methods.png.

One line for each experiment of `dvc exp run` in this repository that changed the block `refresh`, and the committed
state: accuracies of the hand-written and of the refreshed prompt, on validation images (`data.validation`) or on test
images. The picture sets all methods side by side on test images: clean against adaptive accuracy, a curve for each.
"""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from stages.report.style import COLOURS, GRID, MARKERS, png, styled
from stages.report.vocabulary import PROMPTS
from tests.sweep import committed, experiments

ATTACK = "adaptive_eps4"
FREE = ("refresh.", "oblivious.", "assess.", "runtime.", "adaptive.adaptive_eps8", "data.validation")  # may differ


def line(changed: dict[str, object], metrics: dict) -> dict[str, object]:
    """One experiment: whose images, what it changed of `refresh`, and the accuracies."""
    of_rounds = {key: value for key, value in changed.items() if key.startswith("refresh.")}
    numbers = {
        f"{threat}_{prompt}": metrics[threat][prompt]["accuracy"]
        for threat in ("clean", ATTACK)
        for prompt in ("hand", "advpt_refreshed")
    }
    attacked = metrics[ATTACK]["advpt_refreshed"]
    return {
        "images": "validation" if changed.get("data.validation") else "test",
        "changed": ", ".join(f"{key}={value}" for key, value in of_rounds.items()) or "the default",
        **numbers,
        "std": attacked["std"],
        "n": attacked["n"],
        "seeds": attacked["seeds"],
    }


def is_comparable(changed: dict[str, object], metrics: dict) -> bool:
    """Whether an experiment changed nothing but the rounds and, for all prompts alike, what was attacked."""
    attack = (
        {f"adaptive.{ATTACK}.images", f"adaptive.{ATTACK}.tuning_seeds"} if changed.get("data.validation") else set()
    )
    allowed = all(key.startswith(FREE) or key in attack for key in changed)
    return allowed and "advpt_refreshed" in metrics.get(ATTACK, {})


def rounds() -> pd.DataFrame:
    """All lines, those of validation images first, each from the largest gain to the smallest."""
    found = [one for one in [({}, committed("metrics")), *experiments()] if is_comparable(*one)]
    lines = pd.DataFrame([line(*one) for one in found])
    if (
        lines.duplicated(["images", "changed"]).any()
        or lines.groupby("images")[["n", "seeds"]].nunique().max().max() > 1
    ):
        raise ValueError(f"experiments of different sizes, or twice the same:\n{lines.to_string()}")
    gain = lines[f"{ATTACK}_advpt_refreshed"] - lines[f"{ATTACK}_hand"]
    order = lines.assign(gain=gain).sort_values(["images", "gain"], ascending=[False, False], kind="stable")
    return order.reset_index(drop=True)


def picture(lines: pd.DataFrame, sweep: pd.DataFrame) -> bytes:
    """Adaptive against clean accuracy on test images: hand-written, paper's bank, the bank half clean, refreshed.

    Args:
        lines: As `rounds` makes them; of those on test images, what changed nothing but the eps.
        sweep: As tests.sweep writes it; of it, what changed nothing but the bank.
    """
    test = lines[(lines["images"] == "test") & lines["changed"].str.fullmatch(r"the default|refresh\.eps=\[\d+\]")]
    bank = sweep[sweep["changed"].str.fullmatch(r"the default|((attack\.eps|tune\.clean_fraction)=[\d.]+(, )?)+")]
    curves = {
        "coop": bank[bank["tune.clean_fraction"] > 0].sort_values("attack.eps"),
        "advpt": bank[bank["tune.clean_fraction"] == 0].sort_values("attack.eps"),
    }
    labels = {"coop": "AdvPT, half of the bank clean, by its eps", "advpt": "AdvPT, the paper's bank, by its eps"}
    with styled():
        figure = Figure((6.4, 4.2), layout="constrained")
        panel = figure.subplots()
        for name, curve in curves.items():
            marks = {"color": COLOURS[name], "marker": MARKERS[name], "label": labels[name]}
            panel.plot(100 * curve["clean"], 100 * curve[ATTACK], **marks)
            name_eps(panel, curve["clean"], curve[ATTACK], curve["attack.eps"], COLOURS[name])
        (default,) = committed("params")["refresh.eps"]
        eps = test["changed"].str.extract(r"(\d+)")[0].fillna(str(default)).astype(int)
        test = test.assign(eps=eps).sort_values("eps")
        places = test["clean_advpt_refreshed"], test[f"{ATTACK}_advpt_refreshed"]
        look = {"color": COLOURS["advpt_refreshed"], "marker": MARKERS["advpt_refreshed"]}
        panel.plot(*(100 * place for place in places), **look, label=f"{PROMPTS['advpt_refreshed']}, by its eps")
        name_eps(panel, *places, test["eps"], COLOURS["advpt_refreshed"])
        hand = test.iloc[0]
        by_hand = {"color": COLOURS["hand"], "marker": MARKERS["hand"], "linestyle": "none", "label": PROMPTS["hand"]}
        panel.plot(100 * hand["clean_hand"], 100 * hand[f"{ATTACK}_hand"], markersize=8, **by_hand)
        panel.set(xlim=(0, 100), ylim=(0, 60), xlabel="clean accuracy in %", title="What an attacker who knows leaves")
        panel.set_ylabel(f"robust accuracy in %, {ATTACK}")
        panel.grid(**GRID)
        panel.legend(loc="upper left")
        return png(figure)


def name_eps(panel, clean: pd.Series, robust: pd.Series, eps: pd.Series, colour: str) -> None:
    """Writes the eps beside each mark."""
    for across, up, value in zip(clean, robust, eps, strict=True):
        panel.annotate(f"{value:g}", (100 * across, 100 * up), (4, 4), textcoords="offset points", color=colour)


if __name__ == "__main__":
    found = rounds()
    found.to_csv("reports/rounds.csv", index=False, float_format="%.6g", lineterminator="\n")
    Path("reports/methods.png").write_bytes(picture(found, pd.read_csv("reports/sweep.csv")))
    print(found.to_string(index=False))
