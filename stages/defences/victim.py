"""The model under attack: images in [0, 1] -> logits."""

from torch import Tensor, nn

from stages.attacks.noise import ImageNoise
from stages.defences.defence import Defence
from stages.models.clip import Clip
from stages.models.logits import cosine_logits


class Victim(nn.Module):
    """A method as a classifier: images (N, 3, H, W) in [0, 1] -> logits (N, K), differentiable.

    No weight takes a gradient, and `train` has no effect.

    Args:
        clip: The frozen towers.
        text_features: (K, D), unit norm.
        logit_scale: The factor before the cosine.
        logit_bias: (K,), added to the logits.
        defence: Processes the images before they are encoded.
        pixels: Image prompt (3, H, W), added to the images behind the defence; the sum is not clipped.
    """

    text_features: Tensor
    logit_bias: Tensor | None
    pixels: Tensor | None

    def __init__(
        self,
        clip: Clip,
        text_features: Tensor,
        logit_scale: float,
        *,
        logit_bias: Tensor | None = None,
        defence: Defence | None = None,
        pixels: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.clip, self.logit_scale, self.defence = clip, logit_scale, defence
        self.register_buffer("text_features", text_features)
        self.register_buffer("logit_bias", logit_bias)
        self.register_buffer("pixels", pixels)
        self.eval()

    @property
    def is_random(self) -> bool:
        """Whether two calls with the same images may differ."""
        return self.defence is not None and self.defence.is_random

    def process(self, images: Tensor, noise: ImageNoise | None = None) -> Tensor:
        """Apply the defence to images; `noise` is what a random one draws from, None for noise of its own."""
        return images if self.defence is None else self.defence(images, noise)

    def encode_image(self, images: Tensor) -> Tensor:
        """Return the raw image features (N, D), under the image prompt, of images that the defence has processed."""
        return self.clip.encode_image(images if self.pixels is None else images + self.pixels)

    def classify(self, images: Tensor) -> Tensor:
        """Return the logits (N, K) of images that the defence has processed."""
        logits = cosine_logits(self.encode_image(images), self.text_features, self.logit_scale)
        return logits if self.logit_bias is None else logits + self.logit_bias

    def forward(self, images: Tensor, noise: ImageNoise | None = None) -> Tensor:
        """Return the logits (N, K) of images (N, 3, H, W) in [0, 1]; `noise` as in `process`."""
        return self.classify(self.process(images, noise))

    def train(self, mode: bool = True) -> "Victim":
        """Stay in eval mode, whatever is asked for: batch norms of a frozen tower must not learn."""
        return super().train(False)
