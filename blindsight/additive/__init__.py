"""Additive schemes: their operations, layouts, public keys and wire forms.

`schemes` is the table of schemes and of their operations; `layout` packs integers into messages;
`keys` describes the group that a scheme computes in; `block` is the wire form.  Nothing here is secret:
secret-key operations are in `blindsight.trusted.additive`, public ones in
`blindsight.additive.evaluation`.
A scheme is one module in each of these two, a row in their tables and a row in `schemes`.
"""

from __future__ import annotations

from blindsight.additive.block import AdditiveBlock, AdditiveHeader, parse_header, read_block
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.layout import Layout, to_fixed_point
from blindsight.additive.schemes import SCHEMES, AdditiveScheme, Operation, by_name, require

__all__ = [
    "SCHEMES",
    "AdditiveBlock",
    "AdditiveHeader",
    "AdditivePublicKey",
    "AdditiveScheme",
    "Layout",
    "Operation",
    "by_name",
    "parse_header",
    "read_block",
    "require",
    "to_fixed_point",
]
