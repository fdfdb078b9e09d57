"""What the report calls prompts, threats and what an attacker knows."""

from dataclasses import dataclass
from typing import Any

PROMPTS = {"hand": "hand-written", "coop": "CoOp", "advpt": "AdvPT", "advpt_refreshed": "AdvPT refreshed"}
KNOWLEDGE = {
    "clean": "no attack",
    "oblivious": "crafted without the prompts",
    "adaptive": "crafted through the very prompt under test",
}
EFFECTS = {  # of a tuned prompt against the hand-written one: its mark, its meaning
    "gain": ("▲", "better than hand-written"),
    "loss": ("▼", "worse than hand-written"),
    "noise": ("≈", "within noise of hand-written"),
}


@dataclass(frozen=True)
class Threat:
    """One row of the results.

    Attributes:
        name: As in params.yaml, or `clean`.
        knowledge: A key of KNOWLEDGE.
        attack: The attack's parameters; empty for `clean`.
        defence: What processes the images before the encoder, or `none`.
    """

    name: str
    knowledge: str
    attack: dict[str, Any]
    defence: str = "none"

    @property
    def eps(self) -> float:
        """Radius of the ball, in 1/255 of the pixel range."""
        return self.attack.get("eps", 0)

    @property
    def recipe(self) -> str:
        """The attack and the defence in a few words."""
        words = ["the images as they are"]
        if self.attack:
            method = f"{self.attack['method'].replace('_', ' ')} {self.attack.get('version', '')}".rstrip()
            words = [method, f"eps {self.eps:g}/255"]
            words += [f"{self.attack[unit]} {unit}" for unit in ("steps", "queries") if self.attack.get(unit)]
        return ", ".join(words if self.defence == "none" else [*words, f"through {self.defence}"])


CLEAN = Threat("clean", "clean", {})


def shown_threat(threats: list[Threat], bank_eps: float) -> Threat:
    """The undefended oblivious threat that gallery and confusion show: the one most like the bank's attack.

    That is a feature_pgd threat if there is one, of the eps nearest to the bank's; of two as near, the smaller eps.
    Without oblivious threats it is `clean`.

    Args:
        threats: All threats of the report.
        bank_eps: The eps of the bank, in 1/255.
    """
    oblivious = [threat for threat in threats if threat.knowledge == "oblivious" and threat.defence == "none"]
    alike = [threat for threat in oblivious if threat.attack["method"] == "feature_pgd"]
    return min(alike or oblivious or [CLEAN], key=lambda threat: (abs(threat.eps - bank_eps), threat.eps))


def adaptive_partner(threats: list[Threat], eps: float, defence: str = "none") -> Threat | None:
    """The first adaptive threat of the same eps through the same defence, if there is one."""
    adaptive = (threat for threat in threats if threat.knowledge == "adaptive")
    return next((threat for threat in adaptive if (threat.eps, threat.defence) == (eps, defence)), None)
