"""OpenCV, which is optional and is imported when it is used."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from blindsight.errors import InvalidArgument


def require_installed() -> None:
    """Refuses work on keypoints where OpenCV is not installed; imports nothing.

    Raises:
        InvalidArgument: with what to install.
    """
    if find_spec("cv2") is None:
        raise InvalidArgument(
            "keypoints need OpenCV, which is not installed: pip install 'blindsight-vault-trusted[imaging]'"
        )


def load() -> Any:
    """The module.

    Raises:
        InvalidArgument: when it is not installed.
    """
    require_installed()
    import cv2

    return cv2
