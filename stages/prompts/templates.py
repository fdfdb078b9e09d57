"""The ensemble of hand-written templates that CLIP was published with."""


def openai_templates() -> list[str]:
    """The 80 ImageNet templates as texts, `{}` standing for the class name.

    Source: Radford et al. 2021, sec. 3.1.4, as open_clip lists them.
    """
    from open_clip import OPENAI_IMAGENET_TEMPLATES  # here and not above: whoever calls has open_clip in memory

    return [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]
