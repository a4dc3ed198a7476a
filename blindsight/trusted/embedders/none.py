from __future__ import annotations

from typing import ClassVar, NoReturn

from PIL import Image

from blindsight.errors import InvalidArgument


class NoEmbedder:
    """The embedder of collections that take the user's own vectors and no images."""

    name: ClassVar[str] = "none"
    at_least: ClassVar[int] = 1

    def __init__(self, dimension: int | None) -> None:
        if dimension is None or dimension < 1:
            raise InvalidArgument(
                f"dimension of embedder 'none': {dimension}, want that of your vectors, >= 1"
            )
        self.dimension = dimension

    def embed(self, image: Image.Image) -> NoReturn:  # noqa: ARG002 - the interface of all embedders
        raise InvalidArgument(
            f"collection takes vectors only: got an image, want a vector of dimension {self.dimension}"
        )
