"""Keys: sealed at rest, unprintable in memory, bound to one passphrase."""

import copy
import dataclasses
import json
import pickle
import stat

import pytest

from blindsight.errors import AlreadyExists, DataLoss, KeyFileError, WrongPassphrase
from blindsight.parameters import COLLECTION_SETS
from blindsight.trusted.additive import AdditiveKey
from blindsight.trusted.keyring import keyfile, keys, passphrase
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.secrets import Secret

PASSPHRASE = Secret(b"correct horse battery")


@pytest.fixture(scope="module")
def key_set():
    return keys.create()


@pytest.fixture(scope="module")
def key_file(key_set, tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "sub" / "keys.bsky"
    keyfile.write(path, key_set, PASSPHRASE)
    return path


def secrets_of(key_set):
    return {
        "master": key_set.master.reveal_secret(),
        **{name: key.reveal_secret() for name, key in key_set.secret_keys.items()},
    }


def test_a_key_file_gives_back_the_same_keys(key_set, key_file):
    opened = keyfile.read(key_file, PASSPHRASE)
    assert opened.key_id == key_set.key_id
    assert opened.created_unix_seconds == key_set.created_unix_seconds
    assert secrets_of(opened) == secrets_of(key_set)
    assert set(opened.secret_keys) == set(COLLECTION_SETS)


def test_a_key_file_is_for_its_owner_only_and_holds_no_secret_in_the_clear(key_set, key_file):
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    data = key_file.read_bytes()
    for secret in secrets_of(key_set).values():
        assert secret not in data
        assert secret[40:72] not in data or len(secret) < 72


def test_two_key_sets_share_nothing(key_set):
    other = keys.create()
    assert other.key_id != key_set.key_id
    assert not set(secrets_of(other).values()) & set(secrets_of(key_set).values())


def test_a_wrong_passphrase_opens_nothing(key_file):
    with pytest.raises(WrongPassphrase, match="passphrase does not open"):
        keyfile.read(key_file, Secret(b"incorrect horse"))


def test_a_missing_key_file_says_how_to_make_one(tmp_path):
    with pytest.raises(KeyFileError, match="keys create"):
        keyfile.read(tmp_path / "none.bsky", PASSPHRASE)


@pytest.mark.parametrize(
    "damage", ["truncated", "flipped header", "flipped body", "text", "empty", "huge costs"]
)
def test_a_damaged_key_file_is_refused(key_file, tmp_path, damage):
    data = bytearray(key_file.read_bytes())
    if damage == "truncated":
        data = data[: len(data) // 2]
    elif damage == "flipped header":
        data[data.index(b"created")] ^= 1
    elif damage == "flipped body":
        data[-100] ^= 1
    elif damage == "text":
        data = bytearray(b"these are not the keys")
    elif damage == "empty":
        data = bytearray()
    else:
        data = data.replace(json.dumps({"n": keyfile.SCRYPT_N})[1:-1].encode(), b'"n": 999999')
    path = tmp_path / "damaged.bsky"
    path.write_bytes(data)
    with pytest.raises(KeyFileError):
        keyfile.read(path, PASSPHRASE)


def test_a_key_file_is_never_overwritten(key_set, key_file):
    before = key_file.read_bytes()
    with pytest.raises(AlreadyExists, match="never overwritten"):
        keyfile.write(key_file, key_set, PASSPHRASE)
    assert key_file.read_bytes() == before
    assert [path.name for path in key_file.parent.iterdir()] == [key_file.name]


@pytest.mark.parametrize("way", [pickle.dumps, copy.copy, copy.deepcopy], ids=["pickle", "copy", "deepcopy"])
def test_secrets_cannot_be_pickled_or_copied(key_set, way):
    for handle in (key_set, key_set.master):
        with pytest.raises(TypeError, match="cannot be pickled"):
            way(handle)


def test_secrets_cannot_be_printed(key_set):
    for text in (repr(key_set), str(key_set), f"{key_set.master}", repr(key_set.secret_keys)):
        assert "Secret(...)" in text or "key_id" in text
        for secret in secrets_of(key_set).values():
            assert repr(secret)[2:20] not in text


def test_subkeys_differ_by_purpose_and_context(key_set):
    derived = [
        key_set.subkey(purpose, context).reveal_secret()
        for purpose in ("items", "ids")
        for context in (b"", b"a", b"b")
    ]
    assert len(set(derived)) == 6
    assert {len(key) for key in derived} == {32}


def test_a_missing_parameter_set_is_named(key_set):
    with pytest.raises(KeyFileError, match="no key for ckks-unknown"):
        key_set.secret_key("ckks-unknown")


def test_a_key_set_from_before_a_parameter_set_says_what_it_lacks_and_how_to_get_it(key_set):
    others = {name: key for name, key in key_set.secret_keys.items() if name != "paillier-3072"}
    older = dataclasses.replace(key_set, secret_keys=others)
    with pytest.raises(KeyFileError, match=r"no key for paillier-3072, it has ckks-4096, .*keys create"):
        older.secret_key("paillier-3072")


def test_the_keys_of_a_set_go_by_its_id(key_set):
    holder = AdditiveKey.from_secret(key_set.secret_key("paillier-3072"))
    assert (holder.public_key.key_id, holder.public_key.bits) == (key_set.key_id, 3072)


def test_sealed_bytes_open_only_at_their_place(key_set):
    sealer = Sealer(key_set.subkey("items"))
    sealed = sealer.seal(b"a photo", b"place one")
    assert sealer.open(sealed, b"place one") == b"a photo"
    assert sealer.seal(b"a photo", b"place one") != sealed
    with pytest.raises(DataLoss):
        sealer.open(sealed, b"place two")
    with pytest.raises(DataLoss):
        Sealer(key_set.subkey("other")).open(sealed, b"place one")


@pytest.mark.parametrize("position", [0, 4, 8, 30, -1])
def test_a_flipped_byte_in_sealed_bytes_is_noticed(key_set, position):
    sealer = Sealer(key_set.subkey("items"))
    sealed = bytearray(sealer.seal(b"a photo of some length", b"place"))
    sealed[position] ^= 1
    with pytest.raises(DataLoss):
        sealer.open(bytes(sealed), b"place")


def test_a_passphrase_file_gives_its_first_line(tmp_path):
    path = tmp_path / "passphrase"
    path.write_text("eight or more\r\nand a second line\n")
    assert passphrase.from_file(path).reveal_secret() == b"eight or more"


@pytest.mark.parametrize(
    ("content", "message"), [(b"short\n", "want at least 8"), (b"\xff\xfe\x00", "not text")]
)
def test_a_bad_passphrase_file_is_refused(tmp_path, content, message):
    path = tmp_path / "passphrase"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=message):
        passphrase.from_file(path)
    with pytest.raises(KeyFileError, match="cannot read"):
        passphrase.from_file(tmp_path / "missing")


def test_a_generated_passphrase_is_long_private_and_never_replaces_one(tmp_path):
    path = tmp_path / "keyholder" / "passphrase"
    made = passphrase.generate(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert passphrase.from_file(path).reveal_secret() == made.reveal_secret()
    assert len(made.reveal_secret()) >= 32
    with pytest.raises(FileExistsError):
        passphrase.generate(path)
