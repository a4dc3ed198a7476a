from __future__ import annotations

from typing import ClassVar, NoReturn

from PIL import Image

from blindsight.errors import InvalidArgument


class External:
    """The embedder of collections whose photos come with vectors of their owner's, made elsewhere."""

    name: ClassVar[str] = "external"
    at_least: ClassVar[int] = 1

    def __init__(self, dimension: int | None) -> None:
        if dimension is None or dimension < 1:
            raise InvalidArgument(
                f"dimension of embedder 'external': {dimension}, want that of your vectors, >= 1"
            )
        self.dimension = dimension

    def embed(self, image: Image.Image) -> NoReturn:  # noqa: ARG002 - the interface of all embedders
        raise InvalidArgument(
            f"got an image, want a vector of dimension {self.dimension}: embedder 'external' makes none"
        )
