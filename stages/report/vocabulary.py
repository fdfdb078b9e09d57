"""What the report calls prompts, threats and what an attacker knows."""

from dataclasses import dataclass
from typing import Any

PROMPTS = {"hand": "hand-written", "coop": "CoOp", "advpt": "AdvPT"}
KNOWLEDGE = {
    "clean": "no attack",
    "oblivious": "crafted without the prompts",
    "adaptive": "crafted through the very prompt under test",
}


@dataclass(frozen=True)
class Threat:
    """One row of the results.

    Attributes:
        name: As in params.yaml, or `clean`.
        knowledge: A key of KNOWLEDGE.
        attack: The attack's parameters; empty for `clean`.
    """

    name: str
    knowledge: str
    attack: dict[str, Any]

    @property
    def eps(self) -> float:
        """Radius of the ball, in 1/255 of the pixel range."""
        return self.attack.get("eps", 0)

    @property
    def recipe(self) -> str:
        """The attack in a few words."""
        if not self.attack:
            return "the images as they are"
        return f"{self.attack['method'].replace('_', ' ')}, eps {self.eps:g}/255, {self.attack['steps']} steps"


CLEAN = Threat("clean", "clean", {})


def shown_threat(threats: list[Threat], bank_eps: float) -> Threat:
    """The oblivious threat that gallery and confusion show: the one most like the attack that crafted the bank.

    That is a feature_pgd threat if there is one, of the eps nearest to the bank's; of two as near, the smaller eps.
    Without oblivious threats it is `clean`.

    Args:
        threats: All threats of the report.
        bank_eps: The eps of the bank, in 1/255.
    """
    oblivious = [threat for threat in threats if threat.knowledge == "oblivious"]
    alike = [threat for threat in oblivious if threat.attack["method"] == "feature_pgd"]
    return min(alike or oblivious or [CLEAN], key=lambda threat: (abs(threat.eps - bank_eps), threat.eps))


def adaptive_partner(threats: list[Threat], eps: float) -> Threat | None:
    """The first adaptive threat of the same eps, if there is one."""
    return next((threat for threat in threats if threat.knowledge == "adaptive" and threat.eps == eps), None)
