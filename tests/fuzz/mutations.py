"""Damage to files, drawn from a seeded source: no file comes back as it was."""

from collections.abc import Callable, Sequence
from random import Random

Mutation = Callable[[bytearray, Random, Sequence[bytes]], None]
EXTREMES = (0, 1, 2, 255, 256, 1000, 40_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def mutated(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """A damaged copy of a file.

    Args:
        content: The file, not empty.
        random: Where the damage is drawn from.
        others: Files from which pieces are taken.
    """
    while (changed := draw(content, random, others)) == content:
        pass
    return changed


def draw(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """One kind of damage, or rarely two of them, one upon the other."""
    changed = bytearray(content)
    for mutate in random.choices(MUTATIONS, k=random.choice((1, 1, 1, 2))):
        if changed:
            mutate(changed, random, others)
    return bytes(changed)


def place(length: int, random: Random) -> int:
    """Anywhere, near the start or near the end: that is where headers and footers are."""
    near = min(length, 128)
    return random.choice((random.randrange(length), random.randrange(near), length - 1 - random.randrange(near)))


def flip_bits(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    for _ in range(random.choice((1, 1, 2, 8))):
        content[place(len(content), random)] ^= 1 << random.randrange(8)


def change_bytes(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    for _ in range(random.choice((1, 3, 20))):
        content[place(len(content), random)] = random.randrange(256)


def cut(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    del content[place(len(content), random) :]


def piece(content: bytearray, random: Random) -> slice:
    start = place(len(content), random)
    return slice(start, start + random.choice((1, 4, 16, 64, 400)))


def remove_piece(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    del content[piece(content, random)]


def double_piece(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    chosen = piece(content, random)
    content[chosen.start : chosen.start] = content[chosen]


def swap_pieces(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    """Exchanges two neighbouring pieces of different lengths."""
    start, middle, end = sorted(random.choices(range(len(content) + 1), k=3))
    content[start:end] = content[middle:end] + content[start:middle]


def change_number(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    """Writes an extreme number over a field of 1 to 8 bytes."""
    start, width = place(len(content), random), random.choice((1, 2, 4, 8))
    number = random.choice((*EXTREMES, random.getrandbits(32))) % 256**width
    content[start : start + width] = number.to_bytes(width, random.choice(("big", "little")))


def splice(content: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """Goes on as another file does."""
    other = random.choice(others)
    content[place(len(content), random) :] = other[random.randrange(len(other)) :]


def transplant(content: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """Takes the same stretch from another file."""
    other = random.choice(others)
    chosen = piece(content, random)
    content[chosen] = other[chosen]


MUTATIONS: tuple[Mutation, ...] = (
    flip_bits,
    change_bytes,
    cut,
    remove_piece,
    double_piece,
    swap_pieces,
    change_number,
    splice,
    transplant,
)
