"""What the pipeline needs to know of a data set besides its images."""

from pydantic import BaseModel, ConfigDict, field_validator

from stages.datasets.names import composed


class Card(BaseModel):
    """One data set.

    Attributes:
        name: As in `datasets` of params.yaml.
        class_names: K names; the label of an image is an index into them.
        template: The hand-written prompt, `{}` standing for the class name.
        sha256: One digest for all raw images with their splits and labels.
        origin: Where the images come from.
        licence: Their licence.
        splits: Where the splits come from.
        packed: Whether the raw images are rows of Parquet files.
        notes: What the checks of the data found worth saying.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    name: str
    class_names: list[str]
    template: str
    sha256: str
    origin: str
    licence: str
    splits: str
    packed: bool
    notes: list[str]

    @field_validator("class_names")
    @classmethod
    def distinct(cls, names: list[str]) -> list[str]:
        """Classes must differ once underscores are read as spaces, or no prompt could tell them apart.

        Names come out in NFC.
        """
        names = [composed(name) for name in names]
        spoken = [name.replace("_", " ") for name in names]
        if len(names) < 2:
            raise ValueError(f"{len(names)} class; a classifier needs at least 2")
        if len(set(spoken)) < len(spoken):
            doubled = next(name for name in spoken if spoken.count(name) > 1)
            raise ValueError(f"two classes are called {doubled!r}; rename one")
        return names
