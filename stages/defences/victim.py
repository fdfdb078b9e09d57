"""The model under attack: images in [0, 1] -> logits."""

from torch import Tensor, nn

from stages.attacks.noise import ImageNoise
from stages.defences.defence import Defence
from stages.defences.inner import Constant, Inner
from stages.defences.test_time import TestTime
from stages.defences.undefended import Undefended
from stages.models.clip import Clip
from stages.models.logits import cosine_logits, routed_logits

CONSTANT = Constant()


class Victim(nn.Module):
    """A method as a classifier: images (N, 3, H, W) in [0, 1] -> logits (N, K), differentiable.

    No weight takes a gradient, and `train` has no effect.

    Args:
        clip: The frozen towers.
        text_features: (K, D), unit norm; (R, K, D) if there is a router.
        logit_scale: The factor before the cosine.
        logit_bias: (K,), added to the logits.
        defence: Processes the images before they are encoded.
        test_time: Another kind of defence, which calls the classifier itself.
        pixels: Image prompt (3, H, W), added to the images behind the defence; the sum is not clipped.
        tokens: Token prompts (L, P, W) of a ViT, see `MatrixTransformer`.
        router: (R, D), mixes the text features for each image, see `routed_logits`.
    """

    text_features: Tensor
    logit_bias: Tensor | None
    pixels: Tensor | None
    class_names: list[str]
    tokens: Tensor | None
    router: Tensor | None

    def __init__(
        self,
        clip: Clip,
        text_features: Tensor,
        logit_scale: float,
        *,
        logit_bias: Tensor | None = None,
        defence: Defence | None = None,
        test_time: TestTime | None = None,
        pixels: Tensor | None = None,
        tokens: Tensor | None = None,
        router: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.clip, self.logit_scale, self.defence, self.test_time = clip, logit_scale, defence, test_time
        self.register_buffer("text_features", text_features)
        self.register_buffer("logit_bias", logit_bias)
        self.register_buffer("pixels", pixels)
        self.register_buffer("tokens", tokens)
        self.register_buffer("router", router)
        self.eval()

    @property
    def is_random(self) -> bool:
        """Return whether two calls with the same images may differ."""
        return any(one is not None and one.is_random for one in (self.defence, self.test_time))

    @property
    def is_defended(self) -> bool:
        """Return whether there is a defence, which an attacker may ignore."""
        return self.defence is not None or self.test_time is not None

    @property
    def has_features(self) -> bool:
        """Return whether each image has one image feature: not behind a random or a test-time defence."""
        return self.test_time is None and not self.is_random

    @property
    def ways(self) -> list[Inner]:
        """Return how an attacker may differentiate it."""
        return self.test_time.ways if self.test_time else [CONSTANT]

    @property
    def is_gated(self) -> bool:
        """Return whether its defence acts on some images only."""
        return self.test_time is not None and self.test_time.is_gated

    def undefended(self) -> "Victim":
        """Return the same method without its defence."""
        own = {name: getattr(self, name) for name in ("logit_bias", "pixels", "tokens", "router")}
        return Victim(self.clip, self.text_features, self.logit_scale, **own)

    def process(self, images: Tensor, noise: ImageNoise | None = None) -> Tensor:
        """Apply image processing; `noise` is what a random one draws from, None for noise of its own."""
        return images if self.defence is None else self.defence(images, noise)

    def encode_image(self, images: Tensor) -> Tensor:
        """Return the raw image features (N, D), under the image prompt, of images that the defence has processed."""
        tokens = None if self.tokens is None else self.tokens.expand(len(images), -1, -1, -1)
        return self.clip.encode_image(images if self.pixels is None else images + self.pixels, tokens)

    def classify(self, images: Tensor, noise: ImageNoise | None = None, inner: Inner = CONSTANT) -> Tensor:
        """Return the logits (N, K) of processed images, through a test-time defence if there is one.

        Args:
            images: (N, 3, H, W).
            noise: What a random defence draws from; None for noise of its own.
            inner: How to differentiate what a defence does.
        """
        if self.test_time is None:
            return self._logits(self.encode_image(images), self.text_features)
        model = Undefended(self.encode_image, self._exact_logits, inner.combine)
        return self.test_time(images, model, noise, inner).float()

    def _logits(self, features: Tensor, text_features: Tensor) -> Tensor:
        if self.router is None:
            logits = cosine_logits(features, text_features, self.logit_scale)
        else:
            logits = routed_logits(features, text_features, self.router.to(features), self.logit_scale)
        return logits if self.logit_bias is None else logits + self.logit_bias

    def _exact_logits(self, features: Tensor, text_features: Tensor | None = None) -> Tensor:
        """Return logits in float64: rounded to float32 they do not depend on the number of rows."""
        return self._logits(
            features.double(), (self.text_features if text_features is None else text_features).double()
        )

    def forward(self, images: Tensor, noise: ImageNoise | None = None, inner: Inner = CONSTANT) -> Tensor:
        """Return the logits (N, K) of images (N, 3, H, W) in [0, 1]; `noise` and `inner` as in `classify`."""
        return self.classify(self.process(images, noise), noise, inner)

    def train(self, mode: bool = True) -> "Victim":
        """Stay in eval mode, whatever is asked for: batch norms of a frozen tower must not learn."""
        return super().train(False)
