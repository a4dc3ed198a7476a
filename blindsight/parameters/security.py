"""Security levels of rings: the largest modulus that may be published, in bits, by published estimates.

What counts is the modulus of what the untrusted zone ever sees: ciphertexts.  There are no evaluation keys,
and so no key-switching modulus beside the primes of a ciphertext.
"""

from __future__ import annotations

# Levels in bits.  All tables are for ternary secrets and an error of standard deviation 3.19 or more.
LEVELS = (128, 192, 256)

Table = dict[int, tuple[int, int, int]]

# Bossuat et al., "Security Guidelines for Implementing Homomorphic Encryption" (2024, eprint 2024/463),
# table 5.2.
GUIDELINES_2024: Table = {2048: (53, 36, 27), 4096: (106, 73, 56), 8192: (214, 147, 114)}

# Albrecht et al., "Homomorphic Encryption Standard" (HomomorphicEncryption.org, 2018), table 1 (classical)
# and table 2 (quantum).  SEAL 4.1 enforces the classical one.
STANDARD_2018: Table = {2048: (54, 37, 29), 4096: (109, 75, 58), 8192: (218, 152, 118)}
STANDARD_2018_QUANTUM: Table = {2048: (51, 35, 27), 4096: (101, 70, 54), 8192: (202, 141, 109)}

CLASSICAL = (GUIDELINES_2024, STANDARD_2018)
RING_DEGREES = tuple(GUIDELINES_2024)


def level(ring_degree: int, published_bits: int, *tables: Table) -> int:
    """Returns the highest level that all tables give; 0 if it is below 128 bits."""
    reached = 0
    for index, bits in enumerate(LEVELS):
        if all(published_bits <= table[ring_degree][index] for table in tables):
            reached = bits
    return reached


def limit(ring_degree: int, bits: int, *tables: Table) -> int:
    """Returns the largest published modulus, in bits, that reaches a level by all tables."""
    return min(table[ring_degree][LEVELS.index(bits)] for table in tables)
