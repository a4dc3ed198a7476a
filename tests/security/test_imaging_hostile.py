"""Hostile messages at the keyholder's image processing: one clear status each, and it serves on."""

import grpc
import numpy as np
import pytest
from PIL import Image
from support.photos import encoded
from support.services import Services
from support.storage import refusal

from blindsight.rpc.keyholder.v1 import imaging_pb2 as pb
from blindsight.rpc.keyholder.v1 import imaging_pb2_grpc
from blindsight.runtime.transfer import MAX_PHOTO_BYTES, chunks, digest

INVALID, EXHAUSTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED
IMAGE = np.arange(12, dtype=np.uint8).reshape(3, 4)
GOOD = encoded(Image.fromarray(IMAGE), "PNG")


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    few = {name: {"workers": "1"} for name in ("keyholder", "evaluator")}
    running = Services(tmp_path_factory.mktemp("imaging"), settings=few).start()
    try:
        with grpc.insecure_channel(running.address()) as channel:
            yield imaging_pb2_grpc.ImagingServiceStub(channel)
    finally:
        running.stop()


@pytest.fixture
def serving(stub):
    """Afterwards it must answer right."""
    yield stub
    answers = list(stub.Filter(iter([filtering(), *file()]), timeout=60))
    values = np.frombuffer(b"".join(one.chunk for one in answers), np.uint8)
    np.testing.assert_array_equal(values.reshape(IMAGE.shape), IMAGE)


def operation(**changes):
    return pb.Operation(**{"name": "brightness:0", **changes})


def filtering(**changes):
    return pb.FilterRequest(header=pb.FilterHeader(**{"operations": [operation()], **changes}))


def comparing(**changes):
    return pb.DiffRequest(header=pb.DiffHeader(**changes))


def file(data=GOOD, kind=pb.FilterRequest, **changes):
    announced = pb.PictureFile(**{"size_bytes": len(data), "sha256": digest(data), **changes})
    return [kind(file=announced), *(kind(chunk=chunk) for chunk in chunks(data))]


def custom(**changes):
    kernel = pb.KernelMatrix(**{"rows": 1, "columns": 1, "values": [1.0], **changes})
    return [operation(name="custom", kernel=kernel)]


BAD_FILTERS = {
    "nothing": [],
    "no header": file(),
    "two headers": [filtering(), filtering()],
    "no picture": [filtering()],
    "a chunk without its header": [filtering(), pb.FilterRequest(chunk=GOOD)],
    "half a picture": [filtering(), *file(size_bytes=len(GOOD) + 1)],
    "a picture too many": [filtering(), *file(), *file()],
    "another digest": [filtering(), *file(sha256=bytes(32))],
    "no digest": [filtering(), *file(sha256=b"")],
    "an empty chunk": [filtering(), file()[0], pb.FilterRequest(chunk=b""), *file()[1:]],
    "no operations": [filtering(operations=[]), *file()],
    "operations without end": [filtering(operations=[operation()] * 1000), *file()],
    "a name without end": [filtering(operations=[operation(name="x:" * 10_000)]), *file()],
    "a border of a newer client": [filtering(border=9), *file()],
    "colours of a newer client": [filtering(colours=9), *file()],
    "a kernel of fewer numbers": [filtering(operations=custom(rows=3)), *file()],
    "a kernel of none": [filtering(operations=custom(rows=0, values=[])), *file()],
    "a kernel without end": [filtering(operations=custom(rows=2**16, columns=2**16)), *file()],
    "a kernel of a NaN": [filtering(operations=custom(values=[float("nan")])), *file()],
    "the largest numbers": [filtering(operations=custom(values=[1.7e308])), *file()],
    "the smallest numbers": [filtering(operations=custom(values=[5e-324])), *file()],
    "a file and a stored photo": [filtering(stored=pb.StoredImage(collection="a", id="b")), *file()],
}


def refused(call, requests):
    """Status code of a stream that must fail, with one short line."""
    code, _, message = refusal(lambda: list(call(iter(requests), timeout=60)))
    assert len(message.splitlines()) == 1
    assert len(message) < 400
    return code


@pytest.mark.parametrize("name", BAD_FILTERS)
def test_a_bad_filter_is_refused(serving, name):
    assert refused(serving.Filter, BAD_FILTERS[name]) is INVALID


PAIR = [*file(kind=pb.DiffRequest), *file(kind=pb.DiffRequest)]
BAD_DIFFS = {
    "nothing": [],
    "no header": PAIR,
    "one picture": [comparing(), *PAIR[:2]],
    "three pictures": [comparing(), *PAIR, *PAIR[:2]],
    "a scheme that there is not": [comparing(scheme=99), *PAIR],
    "a scheme that cannot subtract two": [comparing(scheme="SCHEME_LIGHTPHE_PAILLIER"), *PAIR],
    "a mode of a newer client": [comparing(mode=9), *PAIR],
    "a threshold without end": [comparing(threshold=2**32 - 1), *PAIR],
    "key bits that anybody can break": [comparing(scheme="SCHEME_PAILLIER", key_bits=512), *PAIR],
    "key bits without end": [comparing(scheme="SCHEME_PAILLIER", key_bits=2**32 - 1), *PAIR],
    "key bits of another scheme": [comparing(scheme="SCHEME_BFV", key_bits=3072), *PAIR],
}


@pytest.mark.parametrize("name", BAD_DIFFS)
def test_a_bad_difference_is_refused(serving, name):
    assert refused(serving.Diff, BAD_DIFFS[name]) is INVALID


def test_a_picture_that_is_too_large_is_refused_before_it_comes(serving):
    for size in (MAX_PHOTO_BYTES + 1, 2**64 - 1):
        assert refused(serving.Filter, [filtering(), file(size_bytes=size)[0]]) is EXHAUSTED


def test_a_picture_of_more_pixels_than_planes_may_have_is_refused(serving):
    wide = encoded(Image.new("1", (4097, 2048)), "PNG")
    assert refused(serving.Filter, [filtering(), *file(wide)]) is INVALID


def test_callers_who_leave_in_the_middle_keep_nobody_from_a_right_answer(serving):
    large = encoded(Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 600), np.uint8)), "PNG")
    for _ in range(4):
        call = serving.Filter(iter([filtering(), *file(large)]), timeout=60)
        next(call)
        call.cancel()
