"""What the blocks of params.yaml are made of: numbers with their ranges, and the rules of every block."""

from difflib import get_close_matches
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Fraction = Annotated[float, Field(gt=0, le=1)]


def no_fraction(eps: Any) -> Any:
    """Refuses an eps that was meant as a fraction of the pixel range."""
    if isinstance(eps, float) and 0 < eps < 1:
        raise ValueError(
            f"the unit is 1/255 of the pixel range; whole numbers up to 255 are allowed (did you mean {eps * 255:.3g}?)"
        )
    return eps


def in_255ths(eps: float) -> float:
    """Refuses an eps that 8-bit images cannot reach."""
    if eps != round(eps):
        raise ValueError("stored images have 8 bits and move by whole steps of 1/255; whole numbers are allowed")
    return eps


Eps = Annotated[float, Field(ge=0, le=255, allow_inf_nan=False), AfterValidator(no_fraction)]
WholeEps = Annotated[int, Field(ge=1, le=255), BeforeValidator(no_fraction)]


class Block(BaseModel):
    """A block of params.yaml: every key is known, every value has exactly its type."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)
    moved: ClassVar[dict[str, str]] = {}  # keys of older versions, and what to write instead

    @model_validator(mode="before")
    @classmethod
    def known(cls, values: Any) -> Any:
        """Names the nearest key for one that does not exist."""
        for key in values if isinstance(values, dict) else ():
            if key not in cls.model_fields:
                if key in cls.moved:
                    raise ValueError(f"{key}: not a key any more; {cls.moved[key]}")
                near = get_close_matches(str(key), cls.model_fields, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(cls.model_fields)}"
                raise ValueError(f"unknown key {key!r}; {hint}")
        return values


class MethodBlock(Block):
    """Keys that the block of every method may have: its name in the report, and the method that it is compared with."""

    label: Annotated[str, Field(min_length=1)] | None = None
    baseline: str | None = None

    def fits_other_classes(self, defaults: Any) -> bool:
        """Return whether what is learnt can be used with other class names, as a shared context can."""
        return not getattr(self, "class_specific", False)


class Schedule(Block):
    """How long to tune and how fast: the learning rate is a cosine, constant during the warm-up epochs."""

    epochs: Count
    batch_size: Count
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: NotNegative
    warmup_epochs: Annotated[int, Field(ge=0)]
    warmup_lr: Positive

    @model_validator(mode="after")
    def _warm_up_ends(self) -> "Schedule":
        """Refuse a warm-up after which nothing would be tuned."""
        if self.warmup_epochs >= self.epochs:
            raise ValueError(f"warmup_epochs ({self.warmup_epochs}) has to be less than epochs ({self.epochs})")
        return self


class Context(Block):
    """Context vectors before, behind or around the class names."""

    context_length: Count
    class_position: Literal["end", "middle", "front"]
    class_specific: bool
    init_words: str | None
    init_std: Positive
