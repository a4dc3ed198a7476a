"""The errors that Blindsight raises on purpose.

    BlindsightError
    ├── InvalidArgument            the request is invalid
    │   ├── InvalidVector          wrong dimension, NaN, zero where a direction is needed
    │   ├── InvalidImage           not an image, truncated, too large
    │   └── InvalidCiphertext      malformed, or of another key, scheme or parameter set
    │       └── SecretMaterialRefused  a secret key was sent to the untrusted zone
    ├── NotFound                   no such collection, item or original
    ├── AlreadyExists              a name or an id that is taken
    ├── Unauthenticated            the caller shows no token that holds
    ├── PermissionDenied           the caller may not make this request
    ├── Conflict                   the state has changed; read it again and retry
    ├── Fenced                     another keyholder of the same keys has taken over
    ├── ResourceExhausted          over a limit of size or number, or the disk is full
    │   └── Busy                   too much is asked at once; the call had no effect, retry later
    ├── Unavailable                a service or a worker is gone; retry later
    │   ├── Draining               a service is stopping: it did not begin, or has answered what it did
    │   └── CutOff                 a service stopped during the call, which may have had an effect or not
    ├── DataLoss                   data of storage or of a service's answer is incomplete or altered
    ├── MissingPackage             an optional package is not installed where the work would be done
    ├── KeyFileError               a key file is missing, damaged or of another format
    │   └── WrongPassphrase        the passphrase does not open the key file
    └── CertificateError           a certificate or its key is missing, expired or of another authority

A message is one line and says what was found and what was expected.  `metadata` holds short strings for
programs.  Never put bytes, vectors, scores or file names into either: messages cross the zones.
"""

from __future__ import annotations

# Metadata of a NotFound for which a whole collection is missing; who knows its name tells it.
NO_COLLECTION = {"missing": "collection"}


class BlindsightError(Exception):
    """The base class of all errors; `reason` is stable and identifies the error to programs."""

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


class Unauthenticated(BlindsightError):
    reason = "UNAUTHENTICATED"


class PermissionDenied(BlindsightError):
    reason = "PERMISSION_DENIED"


class Conflict(BlindsightError):
    reason = "CONFLICT"


class Fenced(BlindsightError):
    """Another keyholder of the same keys has taken over; this one may not write any more."""

    reason = "FENCED"


class ResourceExhausted(BlindsightError):
    reason = "RESOURCE_EXHAUSTED"


class Busy(ResourceExhausted):
    reason = "BUSY"


class Unavailable(BlindsightError):
    reason = "UNAVAILABLE"


class Draining(Unavailable):
    reason = "DRAINING"


class CutOff(Unavailable):
    reason = "CUT_OFF"


class DataLoss(BlindsightError):
    reason = "DATA_LOSS"


class MissingPackage(BlindsightError):
    """An optional package is not installed where the work would be done."""

    reason = "MISSING_PACKAGE"


class KeyFileError(BlindsightError):
    reason = "KEY_FILE_ERROR"


class WrongPassphrase(KeyFileError):
    reason = "WRONG_PASSPHRASE"


class CertificateError(BlindsightError):
    reason = "CERTIFICATE_ERROR"
