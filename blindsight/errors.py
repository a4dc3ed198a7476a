"""Every error that Blindsight raises on purpose.

    BlindsightError
    ├── InvalidArgument            the caller asked for something that cannot be
    │   ├── InvalidVector          wrong dimension, NaN, zero where a direction is needed
    │   ├── InvalidImage           not an image, truncated, too large
    │   └── InvalidCiphertext      malformed, or of another key, scheme or parameter set
    │       └── SecretMaterialRefused  a secret key at a door of the untrusted zone
    ├── NotFound                   no such collection, item or original
    ├── AlreadyExists              a name or an id that is taken
    ├── PermissionDenied           the caller is not who may ask this
    ├── Conflict                   the state moved on; read it again and retry
    ├── ResourceExhausted          over a size, a count or the disk
    ├── Unavailable                a service or a worker is gone; retry later
    │   ├── Draining               a service is stopping: it did not begin, or has said how far it came
    │   └── CutOff                 a service stopped in the middle of it, which may have been done or not
    ├── DataLoss                   what storage or a service answers is not whole, or not what it was
    └── KeyFileError               a key file is missing, damaged or of a wrong form
        └── WrongPassphrase        the passphrase does not open the key file

A message is one line and says what was got and what was wanted.  `metadata` holds short strings for
programs.  Never put bytes, vectors, scores or file names into either: messages cross the zones.
"""

from __future__ import annotations


class BlindsightError(Exception):
    """Base of the tree; `reason` is stable and names the error to programs."""

    reason = "BLINDSIGHT_ERROR"

    def __init__(self, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = {key: str(value) for key, value in metadata.items()}


class InvalidArgument(BlindsightError):
    reason = "INVALID_ARGUMENT"


class InvalidVector(InvalidArgument):
    reason = "INVALID_VECTOR"


class InvalidImage(InvalidArgument):
    reason = "INVALID_IMAGE"


class InvalidCiphertext(InvalidArgument):
    reason = "INVALID_CIPHERTEXT"


class SecretMaterialRefused(InvalidCiphertext):
    reason = "SECRET_MATERIAL_REFUSED"


class NotFound(BlindsightError):
    reason = "NOT_FOUND"


class AlreadyExists(BlindsightError):
    reason = "ALREADY_EXISTS"


class PermissionDenied(BlindsightError):
    reason = "PERMISSION_DENIED"


class Conflict(BlindsightError):
    reason = "CONFLICT"


class ResourceExhausted(BlindsightError):
    reason = "RESOURCE_EXHAUSTED"


class Unavailable(BlindsightError):
    reason = "UNAVAILABLE"


class Draining(Unavailable):
    reason = "DRAINING"


class CutOff(Unavailable):
    reason = "CUT_OFF"


class DataLoss(BlindsightError):
    reason = "DATA_LOSS"


class KeyFileError(BlindsightError):
    reason = "KEY_FILE_ERROR"


class WrongPassphrase(KeyFileError):
    reason = "WRONG_PASSPHRASE"
