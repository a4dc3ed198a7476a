import subprocess
import sys

import pytest

from blindsight import client


@pytest.mark.parametrize("name", client.__all__)
def test_every_public_name_is_there(name):
    assert getattr(client, name) is not None


def test_a_name_that_there_is_not_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'blindsight\.client' has no attribute 'Gallery'"):
        client.Gallery  # noqa: B018


def test_who_only_searches_and_ingests_imports_no_image_processing_and_no_numpy():
    code = "import sys, blindsight.client; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    unwanted = {"numpy", "blindsight.wire.imaging", "blindsight.wire.imports", "blindsight.wire.combine"}
    assert not unwanted & set(loaded.split())
