"""What rounds are worth: `python -m tests.rounds` reads experiments and writes reports/rounds.csv and methods.png.

One line for each experiment of `dvc exp run` in this repository that changed the block `refresh`, and the committed
state: accuracies of the hand-written and of the refreshed prompt, on validation images (`data.validation`) or on test
images. The picture sets all methods side by side on test images: clean against adaptive accuracy, a curve for each.
"""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from stages.report.style import png, styled
from stages.report.vocabulary import PROMPTS
from tests.sweep import Curve, committed, curve_of, draw_curves, experiments, name_eps

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
    shares = {
        "half of the bank clean": bank["tune.clean_fraction"] > 0,
        "the paper's bank": bank["tune.clean_fraction"] == 0,
    }
    curves = [
        curve_of(bank[chosen], ATTACK, look, f"AdvPT, {name}")
        for look, (name, chosen) in zip(("coop", "advpt"), shares.items(), strict=True)
        if chosen.any()
    ]
    (default,) = committed("params")["refresh.eps"]
    eps = test["changed"].str.extract(r"(\d+)")[0].fillna(str(default)).astype(int)
    by_eps = test.assign(eps=eps).sort_values("eps")
    refreshed, hand = (
        100 * by_eps[[f"clean_{prompt}", f"{ATTACK}_{prompt}"]].to_numpy() for prompt in ("advpt_refreshed", "hand")
    )
    curves.append(Curve("advpt_refreshed", PROMPTS["advpt_refreshed"], refreshed, by_eps["eps"].tolist()))
    curves.append(Curve("hand", PROMPTS["hand"], hand[:1], []))
    with styled():
        figure = Figure((6.4, 4.6), layout="constrained")
        panel = figure.subplots()
        draw_curves(panel, curves)
        panel.set(xlabel="clean accuracy in %", ylabel=f"robust accuracy in %, {ATTACK}")
        panel.set_title("What an attacker who knows leaves; a number is the bank's eps")
        figure.legend(handles=panel.lines, loc="outside upper left", ncols=2)
        figure.draw_without_rendering()  # where marks stand, and with them what names would cover
        name_eps(panel, curves)
        return png(figure)


if __name__ == "__main__":
    found = rounds()
    found.to_csv("reports/rounds.csv", index=False, float_format="%.6g", lineterminator="\n")
    Path("reports/methods.png").write_bytes(picture(found, pd.read_csv("reports/sweep.csv")))
    print(found.to_string(index=False))
