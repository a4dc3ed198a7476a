"""Values of wrong types for every parameter of the SDK: each is one clear error, or is taken."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.photos import small_photo
from support.services import Services

import blindsight
from blindsight.client import Collection, Import, Item, Photo, StoredPhoto, Vault
from blindsight.errors import BlindsightError

WRONG: dict[str, Any] = {
    "nothing": None,
    "a truth value": True,
    "zero": 0,
    "a negative number": -1,
    "a huge number": 1 << 80,
    "a broken number": 0.5,
    "no number": math.nan,
    "infinity": math.inf,
    "an imaginary number": 1j,
    "no text": "",
    "a text": "nothing of this kind",
    "a text that UTF-8 cannot write": "\udcff",
    "a text with a NUL": "a\0b",
    "bytes": b"\x00\xff",
    "an empty list": [],
    "a list of lists": [[], [1]],
    "a list of objects": [object(), None],
    "an empty tuple": (),
    "a pair": ("name", 3),
    "a mapping": {"a": {"b": 1}},
    "a mapping of numbers": {1: 2},
    "a set": {1, "a"},
    "an object": object(),
    "a type": int,
    "a function": lambda: None,
    "an exhausted iterator": iter(()),
    "an array of nothing": np.zeros((0, 4)),
    "an array of texts": np.array(["a", "b"]),
    "an array of objects": np.array([None, {}], dtype=object),
    "a number as an array": np.float64(3),
    "an array of three axes": np.zeros((2, 3, 4)),
    "an array of times": np.array(["2026-01-01"], "datetime64[s]"),
    "complex numbers": np.ones((2, 4), complex),
    "a time without a zone": datetime(2026, 1, 1),
    "a path that is not there": Path("/nothing/here.png"),
    "a photo that is none": Photo(3),  # type: ignore[arg-type]
    "a photo with a wrong id": Photo(small_photo(1), id=3),  # type: ignore[arg-type]
    "a photo with wrong metadata": Photo(small_photo(1), metadata=[1]),  # type: ignore[arg-type]
    "a photo with a wrong vector": Photo(small_photo(1), vector="abc"),
    "a photo with a wrong name": Photo(small_photo(1), name=b"x"),  # type: ignore[arg-type]
    "a stored photo of nobody": StoredPhoto("nobody", "nothing"),
    "a stored photo of numbers": StoredPhoto(1, 2),  # type: ignore[arg-type]
    "an item": Item("id"),
}
PHOTO, OTHER = small_photo(1), small_photo(2)
# What is right for what a method must be given, and for some more, so that the rest is looked at.
RIGHT: dict[tuple[type, str], dict[str, Any]] = {
    (Vault, "create_collection"): {"name": "made", "embedder": "pixels", "dimension": 64},
    (Vault, "collection"): {"name": "photos"},
    (Vault, "collections"): {},
    (Vault, "delete_collection"): {"name": "nobody"},
    (Vault, "accept_rollback"): {"name": "photos"},
    (Vault, "acknowledge_alarms"): {},
    (Vault, "create_token"): {
        "role": "searcher",
        "collections": ["photos"],
        "label": "of a test",
        "reveal": "ranks",
    },
    (Vault, "revoke_token"): {"token_id": "0123456789ab"},
    (Vault, "create_tenant"): {"tenant": "of a test", "items": 5},
    (Vault, "set_quotas"): {"tenant": "of a test", "items": 5},
    (Vault, "delete_tenant"): {"tenant": "nobody"},
    (Vault, "set_alias"): {"alias": "pictures", "collection": "photos"},
    (Vault, "remove_alias"): {"alias": "of nobody"},
    (Collection, "rename"): {"new": "called otherwise"},
    (Vault, "verify"): {"a": PHOTO, "b": OTHER, "embedder": "pixels"},
    (Vault, "combine"): {"inputs": [PHOTO, OTHER], "weights": [1, 1], "key_bits": 2048},
    (Vault, "filter"): {"image": PHOTO, "operations": "box"},
    (Vault, "diff"): {"a": PHOTO, "b": OTHER},
    (Vault, "keypoints"): {"image": PHOTO, "octaves": 1, "side": 64},
    (Vault, "match"): {"a": PHOTO, "b": OTHER, "octaves": 1, "side": 64},
    (Vault, "imports"): {},
    (Vault, "get_import"): {"import_id": "00" * 16},
    (Vault, "status"): {},
    (Collection, "ingest"): {"photos": [PHOTO]},
    (Collection, "ingest_bulk"): {"photos": [PHOTO]},
    (Collection, "ingest_vectors"): {"matrix": np.ones((1, 4))},
    (Collection, "search"): {"image": PHOTO},
    (Collection, "search_like"): {"ids": "one"},
    (Collection, "search_vectors"): {"queries": np.ones((1, 4))},
    (Collection, "verify"): {"id": "one", "image_or_vector": PHOTO},
    (Collection, "get"): {"id": "one"},
    (Collection, "planes"): {"id": "one"},
    (Collection, "item"): {"id": "one"},
    (Collection, "vector"): {"id": "one"},
    (Collection, "exists"): {"id": "one"},
    (Collection, "update"): {"ids": "one", "set": {"a": 1}},
    (Collection, "delete"): {"ids": "nobody"},
}
# Taken as they are, whatever they are: they end the connection.
LEFT_OUT = {"close"}


def methods() -> Iterator[tuple[type, str, Callable[..., Any]]]:
    for kind in (Vault, Collection, Import):
        for name, method in inspect.getmembers(kind, callable):
            if not name.startswith("_") and name not in LEFT_OUT:
                yield kind, name, method


@pytest.fixture(scope="module")
def targets(services: Services) -> Iterator[dict[type, Any]]:
    with blindsight.connect(services.address()) as vault:
        photos = vault.create_collection("photos", embedder="pixels", dimension=64)
        photos.ingest([Photo(PHOTO, id="one")], planes=True)
        vault.create_collection("vectors", embedder="none", dimension=4).ingest_vectors(np.eye(4))
        yield {Vault: vault, Collection: photos, Import: vault.get_import("00" * 16)}


def used(found: Any) -> None:
    """Uses what was returned, as a caller would."""
    if inspect.isgenerator(found) or isinstance(found, Iterator):
        list(found)


@pytest.mark.parametrize(
    ("kind", "name", "method"), list(methods()), ids=lambda one: getattr(one, "__name__", one)
)
def test_a_value_of_a_wrong_type_is_one_clear_error(
    targets: dict[type, Any], kind: type, name: str, method: Callable[..., Any]
) -> None:
    right = RIGHT.get((kind, name), {})
    target = targets[kind]
    if name in ("ingest_vectors", "search_vectors"):
        target = targets[Vault].collection("vectors")
    if name in ("rename", "truncate"):
        target = targets[Vault].create_collection(f"for {name}", embedder="none", dimension=4)
    bare = []
    for parameter in list(inspect.signature(method).parameters)[1:]:
        for what, value in WRONG.items():
            if parameter in ("progress", "away") and callable(value):
                continue  # what a callback raises is its own
            try:
                used(method(target, **{**right, parameter: value}))
            except BlindsightError as error:
                if not error.message or "\n" in error.message:
                    bare.append(f"{parameter} {what}: {error.message!r}")
            except Exception as error:
                bare.append(f"{parameter} {what}: {type(error).__name__}: {error}")
    assert bare == []


@pytest.mark.parametrize("parameter", list(inspect.signature(blindsight.connect).parameters))
def test_a_wrong_setting_of_a_connection_is_one_clear_error(services: Services, parameter: str) -> None:
    bare = []
    for what, value in WRONG.items():
        settings = {"address": services.address(), "timeout_seconds": 2.0, parameter: value}
        try:
            blindsight.connect(**settings).close()
        except BlindsightError:
            continue
        except Exception as error:
            bare.append(f"{what}: {type(error).__name__}: {error}")
    assert bare == []


def test_every_method_that_needs_something_is_given_it() -> None:
    for kind, name, method in methods():
        needed = {
            one.name
            for one in list(inspect.signature(method).parameters.values())[1:]
            if one.default is inspect.Parameter.empty
        }
        if name != "acknowledge_alarms":
            assert needed <= RIGHT.get((kind, name), {}).keys(), (kind, name)
