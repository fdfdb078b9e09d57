"""verify: check an entry of the leaderboard, a folder or an archive: its names, schema, digests, and by rescoring it.

    python -m stages.verify entry.tar.gz --json

Exit status: 0 if the entry is good, 1 if it is not, 2 if the command is used wrongly, 3 if the entry cannot be checked
here, because its model or the clean images are not here. A tool, no stage.
"""

from stages.entries import checking


def main(arguments: list[str] | None = None) -> None:
    """Say what is wrong with an entry, or what it states."""
    checking.main("verify", __doc__.split("\n\n")[0], arguments)


if __name__ == "__main__":
    main()
