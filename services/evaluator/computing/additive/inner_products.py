"""Inner products of additive ciphertexts with weights in the clear, in a worker process."""

from __future__ import annotations

from functools import lru_cache

from gmpy2 import mpz

from blindsight.additive.block import HEADER, AdditiveBlock, parse_header, unpack_numbers
from blindsight.additive.evaluation import AdditiveEvaluator
from blindsight.additive.keys import AdditivePublicKey
from blindsight.errors import DataLoss, InvalidCiphertext
from services.evaluator import tasks


@lru_cache(maxsize=8)
def _evaluator(public_key: bytes) -> AdditiveEvaluator:
    return AdditiveEvaluator(AdditivePublicKey.from_bytes(public_key))


def add_batches(task: tasks.AddBatches) -> bytes:
    """Checks every number of some batches and adds the batches up; returns the numbers of the sum.

    Raises:
        DataLoss: if a number cannot be a ciphertext under the key.
    """
    evaluator = _evaluator(task.public_key)
    blocks = [_read(block) for block in task.blocks]
    try:
        for block in blocks:
            evaluator.public_key.check_ciphertexts(block.numbers)
    except InvalidCiphertext as error:
        raise DataLoss(f"storage holds no batch of this public key: {error.message}") from error
    total = evaluator.weighted_sum(blocks, [1] * len(blocks)) if len(blocks) > 1 else blocks[0]
    return total.to_bytes()[HEADER.size :]


def inner_products(task: tasks.InnerProducts) -> tuple[bytes, ...]:
    """Computes inner products of columns from `add_batches` with each query; returns the number of each.

    Raises:
        InvalidArgument: if the weights would make a slot overflow.
    """
    evaluator = _evaluator(task.public_key)
    block = _read(task.block)
    products = [evaluator.inner_products(block, weights) for weights in task.queries]
    return tuple(product.to_bytes()[HEADER.size :] for product in products)


def _read(data: bytes) -> AdditiveBlock:
    """Parses a block whose header the service wrote; gmpy2's numbers are checked several times faster."""
    header = parse_header(data)
    numbers = unpack_numbers(data[HEADER.size :], header.number_bytes)
    return AdditiveBlock(header, [mpz(number) for number in numbers])
