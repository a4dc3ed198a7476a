"""Names of what several services of the keyholder share: schemes and colours."""

from __future__ import annotations

from typing import Literal

from blindsight.rpc.keyholder.v1 import common_pb2 as pb
from blindsight.wire.names import AskedNames, Names

ImageMode = Literal["auto", "grey", "rgb"]

_PREFIX = "SCHEME_"
# By the names that the API and the tables of schemes have for them.
_SCHEMES: dict[str, int] = {
    name.removeprefix(_PREFIX).lower().replace("_", "-"): number
    for name, number in pb.Scheme.items()
    if number != pb.SCHEME_UNSPECIFIED
}


def _asked(*left_out: str) -> AskedNames[str]:
    return AskedNames("scheme", {name: _SCHEMES[name] for name in _SCHEMES if name not in left_out}, "")


_RINGS = "ckks", "bfv"
_LIGHTPHE = tuple(name for name in _SCHEMES if name.startswith("lightphe"))

SCHEME = Names("scheme", _SCHEMES)
COLLECTION_SCHEME = _asked("scramble", *_LIGHTPHE)
IMAGING_SCHEME = _asked(*_LIGHTPHE)
ADDITIVE_SCHEME = _asked(*_RINGS)

COLOURS: AskedNames[ImageMode] = AskedNames(
    "colours",
    {"auto": pb.COLOURS_UNSPECIFIED, "grey": pb.COLOURS_GREY, "rgb": pb.COLOURS_RGB},
    unspecified="auto",
)
_CHANNELS = {"grey": pb.COLOURS_GREY, "rgb": pb.COLOURS_RGB}
ASKED_CHANNELS: AskedNames[str] = AskedNames("channels", _CHANNELS, unspecified="")
CHANNELS: Names[str] = Names("channels", {"": pb.COLOURS_UNSPECIFIED, **_CHANNELS})
