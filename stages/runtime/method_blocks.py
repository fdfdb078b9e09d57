"""Blocks of methods whose keys have defaults: defences, and prompts that are tuned on attacked images.

`adversarial` and `defend`, which write out a block with its defaults, have this file as a dependency: DVC sees the keys
of params.yaml alone, and a changed default changes the method.
"""

from collections.abc import Iterable
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from stages.runtime.block import (
    Block,
    Context,
    Count,
    Eps,
    Fraction,
    MethodBlock,
    NotNegative,
    Positive,
    Schedule,
    Share,
    in_255ths,
)


class Jpeg(Block):
    kind: Literal["jpeg"]
    quality: Annotated[int, Field(ge=1, le=100)]


class Bits(Block):
    kind: Literal["bits"]
    bits: Annotated[int, Field(ge=1, le=8)]


class Median(Block):
    """Median filter, per channel."""

    kind: Literal["median"]
    size: Annotated[int, Field(ge=2)]


class Gaussian(Block):
    """Gaussian smoothing, per channel; sigma in pixels."""

    kind: Literal["gaussian"]
    sigma: Positive


class TotalVariation(Block):
    kind: Literal["total_variation"]
    weight: Positive


class Wavelet(Block):
    """Wavelet denoising by BayesShrink; sigma of the noise, in units of the pixel range."""

    kind: Literal["wavelet"]
    sigma: Positive


class ResizePad(Block):
    """Random shrinking and zero padding; the smallest side as a share of the image's."""

    kind: Literal["resize_pad"]
    smallest: Fraction


ImageProcessing = Jpeg | Bits | Median | Gaussian | TotalVariation | Wavelet | ResizePad


class RandomNoise(Block):
    """Uniform noise of radius eps, in 1/255 of the pixel range."""

    kind: Literal["random_noise"]
    eps: Positive = 4.0


class Tte(Block):
    """The mean logits of ten views: four crops moved by `shift` pixels, the image, and their mirror images."""

    kind: Literal["tte"]
    shift: Count


class ViewEnsemble(Block):
    """The mean logits of random crops; `smallest` side as a share of the image's."""

    kind: Literal["view_ensemble"]
    views: Count = 16
    smallest: Fraction = 0.75


class AntiAdversary(Block):
    """Steps that make the model surer of its own prediction; `step_size` in 1/255."""

    kind: Literal["anti_adversary"]
    steps: Count = 2
    step_size: Positive = 1.2


class Ttc(Block):
    """Test-time counterattack; `eps` and `step_size` in 1/255; `threshold` of the reaction to noise."""

    kind: Literal["ttc"]
    eps: Positive = 4.0
    steps: Count = 2
    step_size: Positive = 1.0
    threshold: Positive = 0.2
    sharpness: Positive = 2.0


class RTpt(Block):
    """A context tuned for each image on its views, and a vote of the views that agree with others."""

    kind: Literal["r_tpt"]
    views: Annotated[int, Field(ge=2)] = 64
    smallest: Fraction = 0.5
    confident: Fraction = 0.1
    lr: Positive = 0.005
    neighbours: Count = 20
    temperature: Positive = 0.01

    @model_validator(mode="after")
    def _enough_views(self) -> "RTpt":
        """Refuse more neighbours than a view can have."""
        if self.neighbours >= self.views:
            raise ValueError(f"neighbours ({self.neighbours}) has to be less than views ({self.views})")
        return self


class Csr(Block):
    """Steps towards the features of a low-pass image; `radius` in cycles per image, `eps` and `step_size` in 1/255."""

    kind: Literal["csr"]
    radius: Positive = 40.0
    threshold: Annotated[float, Field(ge=-1, le=1)] = 0.85
    eps: Positive = 4.0
    steps: Count = 3
    step_size: Positive = 2.0


class Et3(Block):
    """Energy descent; `step_size` is the L2 norm of a step in [0, 1] pixels, `eps` in 1/255."""

    kind: Literal["et3"]
    steps: Count = 5
    step_size: Positive = 2.5
    eps: Positive = 10.0


class ClipureCos(Block):
    """Steps of the image feature towards a blank text."""

    kind: Literal["clipure_cos"]
    steps: Count = 10
    step_size: Positive = 30.0


TestTime = RandomNoise | Tte | ViewEnsemble | AntiAdversary | Ttc | RTpt | Csr | Et3 | ClipureCos
RANDOM = (ResizePad, RandomNoise, ViewEnsemble, Ttc, RTpt)


def kinds_of(blocks: Iterable[type[Block]]) -> frozenset[str]:
    """Return the kinds that these blocks describe."""
    return frozenset(get_args(block.model_fields["kind"].annotation)[0] for block in blocks)


TEST_TIME = kinds_of(get_args(TestTime))
WITHOUT_FEATURES = TEST_TIME | kinds_of(RANDOM)  # behind them an image has logits, but no image feature of its own
Defence = Annotated[ImageProcessing | TestTime, Field(discriminator="kind")]


class Adversarial(MethodBlock, Schedule):
    """A method whose training images are attacked through it in every batch; its keys do not depend on `tune`.

    `kind` names the module of stages/prompts/adversarial that says what is tuned.
    """

    kind: str
    eps: Annotated[list[Annotated[Eps, AfterValidator(in_255ths)]], Field(min_length=1)]
    steps: Count = 3
    step_ratio: Positive = 2.0
    clean_fraction: Share = 0.0
    copies: Count = 1  # of each training image; the second and further ones are shifted and mirrored at random
    temperature: Positive = 1.0
    float64: bool = False  # all of the tuning, so that other CPUs tune the same prompt
    consistency: Positive | None = None  # weight of that term of FAP's loss; null is the cross-entropy alone
    tuning_seeds: Count = 3
    optimizer: Literal["sgd", "adam"]
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NotNegative = 0.0
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    warmup_lr: Positive = 0.00001


class PixelPrompt(Block):
    """A tensor of the image's size, added to every image; `frame`: only to a border of as many pixels."""

    lr: Positive
    frame: Count | None = None


class TextContext(Context):
    """Context vectors that have a learning rate of their own."""

    text_lr: Positive
    context_length: Count = 16
    class_position: Literal["end", "middle", "front"] = "end"
    class_specific: bool = False
    init_words: str | None = None
    init_std: Positive = 0.02


class AdvVp(Adversarial, PixelPrompt):
    """A pixel prompt, with the hand-written text of the data set."""

    kind: Literal["adv_vp"]
    epochs: Count = 20
    batch_size: Count = 128
    optimizer: Literal["sgd", "adam"] = "adam"
    lr: Positive = 0.02


class Apt(Adversarial, TextContext):
    """Context vectors alone; the defaults are those of APT's paper (Li et al. 2024)."""

    kind: Literal["apt"]
    epochs: Count = 50
    batch_size: Count = 32
    optimizer: Literal["sgd", "adam"] = "sgd"
    text_lr: Positive = 0.002
    weight_decay: NotNegative = 0.0005
    warmup_epochs: Annotated[int, Field(ge=0)] = 1


class Moapt(Apt):
    """Several short contexts, mixed for each image by a router."""

    kind: Literal["moapt"]  # type: ignore[assignment]
    contexts: Annotated[int, Field(ge=2)] = 4
    context_length: Count = 4


class AdvVlp(AdvVp, TextContext):
    """A pixel prompt and context vectors."""

    kind: Literal["adv_vlp"]  # type: ignore[assignment]
    text_lr: Positive = 0.02


class TokenPrompts(Block):
    """Tokens beside the patches of a ViT, new ones in each of the first `depth` blocks; null is every block."""

    lr: Positive
    tokens: Count
    depth: Count | None
    token_std: Positive = 0.02


class AdvVpt(Adversarial, TokenPrompts):
    """Token prompts, with hand-written text; the optimiser, the attack and the tokens are TeCoA's (Mao et al. 2023)."""

    kind: Literal["adv_vpt"]
    steps: Count = 2
    epochs: Count = 10
    batch_size: Count = 256
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: Positive = 40.0
    tokens: Count = 100
    depth: Count | None = 1


class AdvVlpt(AdvVpt, TextContext):
    """Token prompts and context vectors."""

    kind: Literal["adv_vlpt"]  # type: ignore[assignment]
    optimizer: Literal["sgd", "adam"] = "adam"
    lr: Positive = 0.02
    text_lr: Positive = 0.02
    tokens: Count = 8
    depth: Count | None = None


class Fap(AdvVpt):
    """Token prompts in both towers; the defaults are those of FAP's paper (Zhou et al. 2024)."""

    kind: Literal["fap"]  # type: ignore[assignment]
    batch_size: Count = 4
    lr: Positive = 0.0035
    text_lr: Positive = 0.0035
    weight_decay: NotNegative = 0.0005
    warmup_epochs: Annotated[int, Field(ge=0)] = 1
    consistency: Positive | None = 1.5
    tokens: Count = 2
    depth: Count | None = 9


AnyAdversarial = AdvVp | Apt | Moapt | AdvVlp | AdvVpt | AdvVlpt | Fap
AdversarialBlock = Annotated[AnyAdversarial, Field(discriminator="kind")]


class Defended(MethodBlock):
    """Another method behind a defence."""

    method: str
    defence: Defence
