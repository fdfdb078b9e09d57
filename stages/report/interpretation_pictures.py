"""What the vectors say: the figures with the caution that is due, and the tables behind them."""

import pandas as pd

from stages.report.drift_figure import moves_figure
from stages.report.page import Picture
from stages.report.pca_figure import plane_figure
from stages.report.tokens_figure import TUNED, words_figure
from stages.report.vocabulary import PROMPTS

Said = dict[str, dict[str, pd.DataFrame]]  # the tables words, moves, cosines, plane of each data set

NEAREST = (
    "Each line is one context vector (first tuning seed). In quotes stand the word nearest to it now and the word "
    "nearest to where its tuning began. The coloured mark is the distance to the nearest word; 0 would be the word "
    "itself. The black bar is the same distance for a random vector of the same size, its twin. Had tuning nothing to "
    "do with words, about half of the vectors would be nearer to one than their twins. An illustration, not a meaning: "
    "a vector may stop anywhere between words and need not mean any, as the authors of CoOp say of theirs. Where each "
    "class has a context of its own, only that of the first class is drawn. Counted here, and listed in words.csv, are "
    "the vectors of all tuning seeds, of at most ten classes."
)
MAPS = (
    "Each cell says how alike the texts of two classes are: 1 is the same direction, 0 is unrelated. The first map "
    "is of the hand-written prompt, the others are of tuned ones (first tuning seed, at most the first 40 classes). "
    "Above each stands the mean over pairs: if it grows, tuning has drawn the classes together. The maps do not say "
    "whether images lie near the right text."
)
SHADOW = (
    "Unit features of training images, the same ones clean and attacked: what CoOp and AdvPT were tuned on, not the "
    "refreshed bank. Large marks are texts (first tuning seed), the number beside one is its class. The plane is "
    "fitted to the clean images alone, and shows the stated share of the squared distances from their mean: points "
    "that meet here may be far apart."
)


def words_pictures(said: Said, class_names: dict[str, list[str]]) -> dict[str, Picture]:
    """Draws the figures, by the names of their files.

    Args:
        said: What the stage `words` wrote on each data set.
        class_names: The names of each data set, by label.
    """
    words, cosines, plane = (
        {dataset: tables[name] for dataset, tables in said.items()} for name in ("words", "cosines", "plane")
    )
    told = " ".join(f"{dataset}: {nearer_than_random(table)}." for dataset, table in words.items())
    moved = " ".join(f"{dataset}: {told_moves(tables['moves'])}." for dataset, tables in said.items())
    return {
        "words": Picture(words_figure(words), "Words near the context vectors", f"{NEAREST} {told}"),
        "moves": Picture(moves_figure(cosines), "Cosines between the classes' texts", f"{MAPS} {moved}"),
        "plane": Picture(plane_figure(plane, class_names), "Images and texts in two dimensions", SHADOW),
    }


def words_tables(said: Said) -> dict[str, pd.DataFrame]:
    """The tables `words` and `moves` of all data sets, each as one."""
    return {
        name: pd.concat([tables[name].assign(dataset=dataset) for dataset, tables in said.items()]).pipe(dataset_first)
        for name in ("words", "moves")
    }


def dataset_first(table: pd.DataFrame) -> pd.DataFrame:
    """The same table with the data set in front."""
    return table[["dataset", *table.columns.drop("dataset")]]


def nearer_than_random(words: pd.DataFrame) -> str:
    """How many vectors are nearer to a word than a random one of their size, over all tuning seeds; plain text."""
    first = words[words["rank"] == 1]
    told = []
    for prompt in TUNED:
        by_measure = dict(list(first[first["prompt"] == prompt].groupby("measure")))
        near, alike = by_measure["euclidean"], by_measure["cosine"]
        nearer, turned = (near["value"] < near["random"]).sum(), (alike["value"] > alike["random"]).sum()
        same = (near["word"] == near["start_word"]).sum()
        told.append(
            f"of {PROMPTS[prompt]}'s {len(near)} vectors, {nearer} are nearer to one of the {near['among'].iloc[0]} "
            f"words than their twins ({turned} by cosine), and {same} are still nearest to the word they began near"
        )
    return "; ".join(told)


def told_moves(moved: pd.DataFrame) -> str:
    """How far the texts went from the hand-written ones, and how much alike, over all tuning seeds; plain text."""
    by_prompt = moved.groupby("prompt")[["cosine", "common"]].mean()
    near, alike = (
        ", ".join(f"{PROMPTS[prompt]} {by_prompt.loc[prompt, column]:.2f}" for prompt in TUNED)
        for column in ("cosine", "common")
    )
    return (
        f"mean cosine between a tuned text and the hand-written one of its class: {near}; between the move of a class "
        f"and the mean move of all: {alike} (1: all moved the same way)"
    )
