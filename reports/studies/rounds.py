"""Compare settings of `refresh`: `python -m reports.studies.rounds` writes reports/rounds.csv and methods.png.

One row for each experiment of `dvc exp run` in this clone that changed the block of the refreshed prompts, and one for
the committed state: accuracies of the hand-written and of the refreshed prompt, on validation images
(`data.validation`) or on test images. The figure shows clean against adaptive accuracy on test images, a curve for each
method.
"""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from reports.studies.sweep import LABELS, Curve, committed, curve_of, draw_curves, experiments, name_eps
from stages.report.style import png, styled

ATTACK = "adaptive_eps4"
BLOCK = "methods.refresh.advpt_refreshed."
FREE = (BLOCK, "oblivious.", "assess.", "runtime.", "adaptive.adaptive_eps8", "data.validation")  # may differ


def line(changed: dict[str, object], metrics: dict) -> dict[str, object]:
    """One experiment: whose images, what it changed of its block, and the accuracies."""
    of_rounds = {f"refresh.{key.removeprefix(BLOCK)}": value for key, value in changed.items() if key.startswith(BLOCK)}
    numbers = {
        f"{threat}_{prompt}": metrics[threat][prompt]["accuracy"]
        for threat in ("clean", ATTACK)
        for prompt in ("zero_shot", "advpt_refreshed")
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
    gain = lines[f"{ATTACK}_advpt_refreshed"] - lines[f"{ATTACK}_zero_shot"]
    order = lines.assign(gain=gain).sort_values(["images", "gain"], ascending=[False, False], kind="stable")
    return order.reset_index(drop=True)


def picture(lines: pd.DataFrame, sweep: pd.DataFrame, *, eps: int) -> bytes:
    """Adaptive against clean accuracy on test images: hand-written, paper's bank, the bank half clean, refreshed.

    Args:
        lines: As `rounds` makes them; of those on test images, what changed nothing but the eps.
        sweep: As reports.studies.sweep writes it; of it, what changed nothing but the bank.
        eps: The committed one of the refreshed bank.
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
    changed = test["changed"].str.extract(r"(\d+)")[0].fillna(str(eps)).astype(int)
    by_eps = test.assign(eps=changed).sort_values("eps")
    refreshed, hand = (
        100 * by_eps[[f"clean_{prompt}", f"{ATTACK}_{prompt}"]].to_numpy()
        for prompt in ("advpt_refreshed", "zero_shot")
    )
    curves.append(Curve("advpt_refreshed", LABELS["advpt_refreshed"], refreshed, by_eps["eps"].tolist()))
    curves.append(Curve("zero_shot", LABELS["zero_shot"], hand[:1], []))
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
    (default,) = committed("params")[f"{BLOCK}eps"]
    found.to_csv("reports/rounds.csv", index=False, float_format="%.6g", lineterminator="\n")
    Path("reports/methods.png").write_bytes(picture(found, pd.read_csv("reports/sweep.csv"), eps=default))
    print(found.to_string(index=False))
