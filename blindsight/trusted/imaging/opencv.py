"""OpenCV, an optional dependency that is imported when it is used."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from blindsight.errors import MissingPackage


def require_installed() -> None:
    """Checks that OpenCV is installed, without importing it.

    Raises:
        MissingPackage: if it is not installed; the message says what to install.
    """
    if find_spec("cv2") is None:
        raise MissingPackage(
            "keypoints need OpenCV, which the keyholder does not have: "
            "pip install 'blindsight-vault-trusted[imaging]' on its machine"
        )


def load() -> Any:
    """Imports and returns the module `cv2`.

    Raises:
        MissingPackage: if it is not installed.
    """
    require_installed()
    import cv2

    return cv2
