"""The threats of a report, in its order, from their blocks in params.yaml."""

from stages.report.vocabulary import CLEAN, Threat
from stages.report.worst import worst_threats
from stages.runtime.params import AdaptiveAttack, Defence, FeaturePgd, Transfer


def threats_of(
    oblivious: dict[str, FeaturePgd | Transfer],
    adaptive: dict[str, AdaptiveAttack],
    defences: dict[str, Defence],
) -> list[Threat]:
    """Clean, oblivious, adaptive, the worst of these; each through the defences, too.

    Args:
        oblivious: Attacks by the names of their threats.
        adaptive: Attacks by the names of their threats; those through a defence are left out where `defences` is empty.
        defences: By name; empty for a study of other prompts than a data set's own, which is judged without.
    """
    name_of = {settings.model_dump_json(): name for name, settings in defences.items()}
    behind = ["none", *defences]
    threats = [Threat(through(CLEAN.name, defence), "clean", {}, defence) for defence in behind]
    for name, attack in oblivious.items():
        threats += [Threat(through(name, defence), "oblivious", attack.model_dump(), defence) for defence in behind]
    for name, attack in adaptive.items():
        defence = name_of.get(attack.defence.model_dump_json()) if attack.defence else "none"
        if defence:
            threats.append(Threat(name, "adaptive", attack.model_dump(), defence))
    return [CLEAN, *threats[1:], *worst_threats(threats)]


def through(threat: str, defence: str) -> str:
    """What a threat is called behind a defence."""
    return threat if defence == "none" else f"{threat}+{defence}"
