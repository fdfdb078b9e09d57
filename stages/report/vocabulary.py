"""Methods and threats as the report knows them."""

from dataclasses import dataclass
from typing import Any, NamedTuple

KNOWLEDGE = {
    "clean": "no attack",
    "oblivious": "the attacker does not know the method",
    "adaptive": "the attacker differentiates through the method under test",
}
WORST = "pointwise_worst"


class Method(NamedTuple):
    """One row of every table."""

    name: str  # as in params.yaml
    label: str  # what the report calls it
    baseline: str | None = None  # name of the method that it is compared with beside the reference, if any
    group: str = ""  # the group of params.yaml that it belongs to
    cost: str = "1 forward"  # what a prediction costs, in words; known where its predictions are read


def reference_of(methods: list[Method]) -> Method:
    """Return the method that all others are compared with: the first of the group zero_shot."""
    return next(method for method in methods if method.group == "zero_shot")


def baseline_of(method: Method, methods: list[Method]) -> Method | None:
    """Return the baseline of a method if it is there and not the reference, which is compared with in any case."""
    found = (other for other in methods if other.name == method.baseline and other is not reference_of(methods))
    return next(found, None)


@dataclass(frozen=True)
class Threat:
    """A way of turning the test images into attacked images."""

    name: str  # as in params.yaml, or `clean`
    knowledge: str  # a key of KNOWLEDGE
    attack: dict[str, Any]  # the attack's parameters; empty for `clean`

    @property
    def eps(self) -> float:
        """Radius of the ball, in 1/255 of the pixel range."""
        return self.attack.get("eps", 0)

    @property
    def is_worst(self) -> bool:
        """Return whether its rows are computed from those of others."""
        return self.attack.get("method") == WORST

    @property
    def recipe(self) -> str:
        """The attack in a few words."""
        if not self.attack:
            return "the images as they are"
        words = [f"{self.attack['method'].replace('_', ' ')} {self.attack.get('version', '')}".rstrip()]
        words += [f"eps {self.eps:g}/255"]
        words += [f"{self.attack[unit]} {unit}" for unit in ("steps", "queries") if self.attack.get(unit)]
        return ", ".join(words)

    @property
    def title(self) -> str:
        """The name, of an attack with what the attacker knows."""
        return f"{self.name} ({self.knowledge})" if self.attack else self.name


CLEAN = Threat("clean", "clean", {})


def headline_threat(threats: list[Threat], bank_eps: float) -> Threat:
    """Return the oblivious threat that is most like the attack of the bank; `clean` if there is none.

    That is a feature_pgd threat if there is one, of the eps nearest to the bank's; of two as near, the smaller eps.
    """
    oblivious = [threat for threat in threats if threat.knowledge == "oblivious"]
    alike = [threat for threat in oblivious if threat.attack["method"] == "feature_pgd"]
    return min(alike or oblivious or [CLEAN], key=lambda threat: (abs(threat.eps - bank_eps), threat.eps))


def adaptive_partner(threats: list[Threat], eps: float) -> Threat | None:
    """Return the first adaptive threat of an eps, if there is one."""
    return next((threat for threat in threats if threat.knowledge == "adaptive" and threat.eps == eps), None)
