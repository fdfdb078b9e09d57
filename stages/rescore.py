"""rescore: classify the stored images of an entry again, through the method packed with them; nothing is attacked.

    python -m stages.rescore entries/fashion-tiny-clip-advpt

The same check as `python -m stages.verify`, with its exit statuses. A tool, no stage.
"""

from stages.entries import checking


def main(arguments: list[str] | None = None) -> None:
    """Print the numbers of an entry, which its images give again."""
    checking.main("rescore", __doc__.split("\n\n")[0], arguments)


if __name__ == "__main__":
    main()
