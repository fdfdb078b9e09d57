"""Damage to files, drawn from a seeded source: no file comes back as it was."""

from collections.abc import Callable, Sequence
from random import Random

Mutation = Callable[[bytearray, Random, Sequence[bytes]], None]
EXTREMES = (0, 1, 2, 255, 256, 1000, 40_000, 65_535, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1)


def mutated(content: bytes, random: Random, others: Sequence[bytes]) -> bytes:
    """Damage a copy of a file (not empty) in one way, or rarely two; pieces are taken from other files."""
    changed = bytearray(content)
    while changed == content:
        for mutate in random.choices(MUTATIONS, k=random.choice((1, 1, 1, 2))):
            if changed:
                mutate(changed, random, others)
    return bytes(changed)


def place(length: int, random: Random) -> int:
    """Anywhere, near the start or near the end: that is where headers and footers are."""
    near = min(length, 128)
    return random.choice((random.randrange(length), random.randrange(near), length - 1 - random.randrange(near)))


def piece(content: bytearray, random: Random) -> slice:
    start = place(len(content), random)
    return slice(start, start + random.choice((1, 4, 16, 64, 400)))


def flip_bits(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    for _ in range(random.choice((1, 1, 2, 8))):
        content[place(len(content), random)] ^= 1 << random.randrange(8)


def cut(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    del content[place(len(content), random) :]


def remove_piece(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    del content[piece(content, random)]


def double_piece(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    chosen = piece(content, random)
    content[chosen.start : chosen.start] = content[chosen]


def change_number(content: bytearray, random: Random, _: Sequence[bytes]) -> None:
    """Write a random or an extreme number over a field of 1 to 8 bytes."""
    start, width = place(len(content), random), random.choice((1, 2, 4, 8))
    number = random.choice((*EXTREMES, random.getrandbits(32))) % 256**width
    content[start : start + width] = number.to_bytes(width, random.choice(("big", "little")))


def splice(content: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """Go on as another file does."""
    other = random.choice(others)
    content[place(len(content), random) :] = other[random.randrange(len(other)) :]


def transplant(content: bytearray, random: Random, others: Sequence[bytes]) -> None:
    """Take the same stretch from another file."""
    chosen = piece(content, random)
    content[chosen] = random.choice(others)[chosen]


MUTATIONS: tuple[Mutation, ...] = (flip_bits, cut, remove_piece, double_piece, change_number, splice, transplant)
