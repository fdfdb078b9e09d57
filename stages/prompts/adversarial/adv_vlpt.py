"""Token prompts and context vectors, tuned together."""

from stages.prompts.adversarial import adv_vlp, adv_vpt


class Learner(adv_vlp.Learner):
    """The token prompts of `adv_vpt` and the context vectors of `apt`; see `prompts.adversarial`."""

    of_images = adv_vpt.Learner
    on_images = adv_vpt.Learner.on_images
