"""Sums of additive ciphertexts with weights in the clear, in a worker."""

from __future__ import annotations

import time
from functools import lru_cache

from blindsight.additive.block import HEADER
from blindsight.additive.keys import AdditivePublicKey
from blindsight.errors import DataLoss, InvalidCiphertext
from blindsight.untrusted.evaluator.additive import AdditiveEvaluator
from blindsight.untrusted.evaluator.tasks import FoldTask, WeighTask


@lru_cache(maxsize=8)
def _evaluator(public_key: bytes) -> AdditiveEvaluator:
    return AdditiveEvaluator(AdditivePublicKey.from_bytes(public_key))


def fold(task: FoldTask) -> tuple[bytes, float]:
    """Checks every number of some batches and adds the batches up: the numbers of the sum, and the seconds.

    Raises:
        DataLoss: for a number that no ciphertext of the key can have.
    """
    started = time.perf_counter()
    evaluator = _evaluator(task.public_key)
    try:
        blocks = [evaluator.read(block) for block in task.blocks]
    except InvalidCiphertext as error:
        raise DataLoss(f"storage holds no batch of this public key: {error.message}") from error
    total = evaluator.weighted_sum(blocks, [1] * len(blocks)) if len(blocks) > 1 else blocks[0]
    return total.to_bytes()[HEADER.size :], time.perf_counter() - started


def weigh(task: WeighTask) -> tuple[tuple[bytes, ...], float]:
    """Inner products of the columns with each query: the number of each result, and the seconds.

    Raises:
        InvalidArgument: for weights that would overflow.
    """
    started = time.perf_counter()
    evaluator = _evaluator(task.public_key)
    block = evaluator.read(task.block)
    products = [evaluator.inner_products(block, weights) for weights in task.queries]
    numbers = tuple(product.to_bytes()[HEADER.size :] for product in products)
    return numbers, time.perf_counter() - started
