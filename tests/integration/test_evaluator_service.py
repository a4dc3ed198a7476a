"""The evaluator as a real process beside a real storage: answers are decrypted and compared with numpy."""

import itertools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import grpc
import pytest
from support import storage
from support.evaluator import (
    Asked,
    Client,
    Gallery,
    Owner,
    Untrusted,
    collect,
    new_gallery,
    requests,
    unit_rows,
)
from support.services import wait_until
from support.storage import MAIN_0, MAIN_1, TAIL_0, TAIL_1, refusal

from blindsight.packing.segments import Region
from blindsight.parameters import PARAMETER_SETS

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def owner():
    return Owner()


@pytest.fixture(scope="module")
def untrusted(tmp_path_factory):
    running = Untrusted(tmp_path_factory.mktemp("untrusted"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def evaluator(untrusted):
    with Client(untrusted.evaluator.address) as client:
        yield client


@pytest.fixture
def stored(untrusted):
    with storage.Client(untrusted.storage.address) as client:
        yield client


@pytest.fixture
def gallery(owner, stored):
    return new_gallery(owner, stored, next(_numbers))


def test_a_search_scores_every_vector_of_both_regions(gallery, evaluator):
    gallery.add(MAIN_0, unit_rows(1024, 8))
    gallery.add(MAIN_1, unit_rows(700, 8, seed=2))
    gallery.add(TAIL_0, unit_rows(5, 8, seed=3))
    forms = unit_rows(1, 8, seed=4)
    answer = evaluator.score(gallery, forms)
    gallery.check(answer)
    assert (answer.plan.main_segments, answer.plan.tail_segments) == (2, 1)
    assert answer.plan.sequence == gallery.sequence
    assert answer.summary.scanned_bytes == 2 * 65536 + 32768
    assert answer.summary.check_seconds > 0
    assert answer.summary.kernel_seconds > 0
    assert answer.summary.refresh_seconds > 0


def test_many_queries_are_scored_in_several_passes(gallery, evaluator):
    gallery.add(MAIN_0, unit_rows(100, 8))
    gallery.add(TAIL_0, unit_rows(3, 8, seed=2))
    forms = unit_rows(37, 8, seed=3)
    answer = evaluator.score(gallery, forms)
    gallery.check(answer)
    assert answer.summary.scanned_bytes == 3 * (65536 + 32768)


def test_an_append_after_a_search_is_found_by_the_next(gallery, evaluator):
    forms = unit_rows(2, 8, seed=9)
    for batch in range(4):
        gallery.add(MAIN_0, unit_rows(10 + batch, 8, seed=batch))
        gallery.add(TAIL_0, unit_rows(1, 8, seed=20 + batch))
        gallery.check(evaluator.score(gallery, forms))


def test_batches_that_are_mixed_over_segments_are_added_up(gallery, evaluator):
    for batch in range(6):
        for number, segment in enumerate((MAIN_0, TAIL_0, MAIN_1, TAIL_1)):
            gallery.add(segment, unit_rows(3, 8, seed=10 * batch + number))
    forms = unit_rows(1, 8, seed=99)
    gallery.check(evaluator.score(gallery, forms))


def test_a_retired_segment_is_not_scored_any_more(gallery, evaluator):
    gallery.add(MAIN_0, unit_rows(20, 8))
    gallery.add(TAIL_0, unit_rows(4, 8, seed=2))
    forms = unit_rows(1, 8, seed=3)
    before = evaluator.score(gallery, forms)
    gallery.delete(MAIN_0)
    gallery.delete(TAIL_0)
    gallery.check(evaluator.score(gallery, forms))
    gallery.add(MAIN_1, unit_rows(30, 8, seed=4), retires=[MAIN_0, TAIL_0])
    after = evaluator.score(gallery, forms)
    gallery.check(after)
    assert after.plan.epoch > before.plan.epoch


@pytest.mark.parametrize("region", Region)
def test_a_query_for_one_region_is_scored_against_its_segments_alone(gallery, evaluator, region):
    for number, segment in enumerate((MAIN_0, TAIL_0, TAIL_1)):
        gallery.add(segment, unit_rows(3, 8, seed=number))
    asked = gallery.ask(unit_rows(18, 8, seed=3), {region})
    answer = evaluator.send(gallery, asked, regions=[region])
    gallery.check(answer)
    counts = {Region.MAIN: answer.plan.main_segments, Region.TAIL: answer.plan.tail_segments}
    assert counts == {Region.MAIN: 0, Region.TAIL: 0, region: 1 if region is Region.MAIN else 2}


def test_an_empty_collection_has_a_plan_and_a_summary_and_no_results(gallery, evaluator):
    answer = evaluator.score(gallery, unit_rows(1, 8))
    assert (answer.plan.main_segments, answer.plan.tail_segments) == (0, 0)
    assert not answer.residues
    assert answer.summary.scanned_bytes == 0


@pytest.mark.parametrize(
    ("dimension", "stride"), [(1, 1), (600, 1), (70, 32), (2048, 64), (2048, 2048), (5000, 4096)]
)
def test_dimensions_from_one_to_thousands_are_scored_with_any_stride(
    owner, stored, evaluator, dimension, stride
):
    gallery = new_gallery(owner, stored, next(_numbers), dimension=dimension, stride=stride)
    gallery.add(MAIN_0, unit_rows(min(9, 4096 // stride), dimension))
    gallery.add(TAIL_0, unit_rows(1, dimension, seed=2))
    answer = evaluator.score(gallery, unit_rows(1, dimension, seed=3))
    gallery.check(answer)
    # An answer has no more points than a segment has slots, but never fewer than a transform can have.
    primes = 2
    assert {residues.shape for (segment, _), residues in answer.residues.items() if segment == MAIN_0} == {
        (1, primes, max(16, 4096 // stride))
    }


@pytest.mark.parametrize("parameters", PARAMETER_SETS.values(), ids=lambda one: one.name)
def test_collections_of_every_parameter_set_are_scored(owner, stored, evaluator, parameters):
    gallery = new_gallery(owner, stored, next(_numbers), parameter_set=parameters.name)
    for segment, seed in ((MAIN_0, 1), (TAIL_0, 2), (MAIN_0, 3), (TAIL_0, 4)):
        gallery.add(segment, unit_rows(30, 8, seed=seed))
    gallery.check(evaluator.score(gallery, unit_rows(3, 8, seed=5)))


def test_every_field_of_a_row_is_scored_on_its_own(owner, stored, evaluator):
    fields = (1, 9, 4)
    changes = {"dimension": sum(fields), "fields": fields}
    gallery = new_gallery(owner, stored, next(_numbers), **changes)
    gallery.add(MAIN_0, unit_rows(300, sum(fields)))
    gallery.add(TAIL_0, unit_rows(7, sum(fields), seed=2))
    answer = evaluator.score(gallery, unit_rows(2, sum(fields), seed=3))
    gallery.check(answer)
    assert {len(residues) for residues in answer.residues.values()} == {3}


def test_a_search_that_the_cache_covers_does_not_ask_storage(gallery, evaluator):
    gallery.add(MAIN_0, unit_rows(20, 8))
    forms = unit_rows(1, 8, seed=3)
    evaluator.score(gallery, forms)
    seen = gallery.sequence
    gallery.add(MAIN_0, unit_rows(1, 8, seed=2))
    answer = evaluator.score(gallery, forms, minimum_sequence=seen)
    assert answer.plan.sequence == seen
    gallery.check(answer)


def test_prepare_tells_how_far_it_is_and_leaves_nothing_for_the_search(gallery, evaluator):
    for batch in range(3):
        gallery.add(TAIL_0, unit_rows(2, 8, seed=batch))
    progress = evaluator.prepare(gallery.record.collection_id)
    assert [step.batches_total for step in progress] == [3] * len(progress)
    assert [progress[0].batches_done, progress[-1].batches_done] == [0, 3]
    assert progress[-1].sequence == gallery.sequence
    again = evaluator.prepare(gallery.record.collection_id)
    assert [step.batches_total for step in again] == [0]
    forms = unit_rows(1, 8, seed=3)
    gallery.check(evaluator.score(gallery, forms))


def test_a_dropped_collection_is_built_again_when_it_is_searched(gallery, evaluator, untrusted):
    gallery.add(MAIN_0, unit_rows(20, 8))
    forms = unit_rows(1, 8, seed=3)
    evaluator.score(gallery, forms)
    name = gallery.record.collection_id.hex()
    assert any(name in str(path) for path in untrusted.files)
    evaluator.drop(gallery.record.collection_id)
    evaluator.drop(gallery.record.collection_id)
    assert not any(name in str(path) for path in untrusted.files)
    gallery.check(evaluator.score(gallery, forms))


def test_a_collection_that_storage_deleted_is_not_found_and_leaves_the_cache(gallery, evaluator, untrusted):
    gallery.add(MAIN_0, unit_rows(20, 8))
    forms = unit_rows(1, 8, seed=3)
    evaluator.score(gallery, forms)
    identity = gallery.record.collection_id
    gallery.client.stub.DeleteCollection(
        storage.pb.DeleteCollectionRequest(collection_id=identity), timeout=30
    )
    code, reason, _ = refusal(lambda: evaluator.prepare(identity))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
    assert not any(identity.hex() in str(path) for path in untrusted.files)


def test_an_unknown_collection_is_not_found(gallery, evaluator):
    block = gallery.query(unit_rows(1, 8))
    code, reason, _ = refusal(lambda: evaluator.stub.Score(requests(b"not a collection", block), timeout=30))
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


def test_two_clients_at_once_get_their_own_answers(owner, stored, untrusted):
    galleries = [new_gallery(owner, stored, next(_numbers)) for _ in range(2)]
    for number, gallery in enumerate(galleries):
        gallery.add(MAIN_0, unit_rows(50, 8, seed=number))
    forms = [unit_rows(1 + number % 3, 8, seed=40 + number) for number in range(16)]
    asked = [galleries[number % 2].ask(form) for number, form in enumerate(forms)]

    def search(number):
        return clients[number % 2].send(galleries[number % 2], asked[number])

    addresses = [untrusted.evaluator.address] * 2
    with Client(addresses[0]) as first, Client(addresses[1]) as second, ThreadPoolExecutor(8) as threads:
        clients = first, second
        answers = list(threads.map(search, range(16)))
    for number, answer in enumerate(answers):
        galleries[number % 2].check(answer)


def test_status_counts_what_is_there(gallery, evaluator, untrusted):
    before = evaluator.status()
    gallery.add(MAIN_0, unit_rows(20, 8))
    evaluator.prepare(gallery.record.collection_id)
    after = evaluator.status()
    assert after.collections == before.collections + 1
    assert after.segments == before.segments + 1
    assert after.disk_bytes == before.disk_bytes + 4096 + 65536
    assert after.memory_bytes > 50 << 20
    on_disk = sum(path.stat().st_size for path in untrusted.files if path.suffix == ".seg")
    assert after.disk_bytes == on_disk


def test_a_killed_scorer_is_replaced_and_the_search_is_answered(gallery, evaluator, untrusted):
    gallery.add(MAIN_0, unit_rows(20, 8))
    forms = unit_rows(1, 8, seed=3)
    gallery.check(evaluator.score(gallery, forms))
    scorer = untrusted.workers()[0]
    scorer.kill()
    scorer.wait(10)
    gallery.check(evaluator.score(gallery, forms))
    assert scorer.pid not in [worker.pid for worker in untrusted.workers()]


@dataclass
class LongSearch:
    """A search of many queries over a gallery that is ready, encrypted once for all tests of it."""

    gallery: Gallery
    asked: Asked

    def start(self, client):
        stream = requests(self.gallery.record.collection_id, self.asked.block, len(self.asked.forms))
        return client.stub.Score(stream, timeout=60)


@pytest.fixture(scope="module")
def long_search(owner, untrusted):
    with storage.Client(untrusted.storage.address) as stored, Client(untrusted.evaluator.address) as client:
        gallery = new_gallery(owner, stored, next(_numbers), dimension=32, stride=1)
        for index in range(32):
            gallery.add(storage.SegmentId(storage.Region.MAIN, index), unit_rows(10, 32, seed=index))
        client.prepare(gallery.record.collection_id)
        yield LongSearch(gallery, gallery.ask(unit_rows(40, 32, seed=30)))


def test_a_scorer_killed_during_a_search_costs_at_most_that_search(long_search, evaluator, untrusted):
    responses = long_search.start(evaluator)
    first = next(responses)
    untrusted.workers()[0].kill()
    try:
        answer = collect(long_search.asked, itertools.chain([first], responses))
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - either is right, nothing else is
    else:
        long_search.gallery.check(answer)
    forms = long_search.asked.forms[:1]
    long_search.gallery.check(evaluator.score(long_search.gallery, forms))


def test_killed_builders_are_replaced_and_the_gallery_is_built(gallery, evaluator, untrusted):
    gallery.add(MAIN_0, unit_rows(20, 8))
    for worker in untrusted.workers()[1:]:
        worker.kill()
        worker.wait(10)
    forms = unit_rows(1, 8, seed=3)
    gallery.check(evaluator.score(gallery, forms))


def test_health_is_answered_while_a_long_search_runs(long_search, evaluator, untrusted):
    answered = 0
    with Client(untrusted.evaluator.address) as watching:
        for response in long_search.start(evaluator):
            answered += watching.serving()
            last = response.WhichOneof("part")
    assert last == "summary"
    assert answered >= 32 * 40 // 32  # a message holds 32 answers


def test_a_search_whose_caller_left_leaves_nothing_behind(long_search, evaluator, untrusted):
    service = untrusted.service()
    before = service.num_fds()
    for _ in range(3):
        responses = long_search.start(evaluator)
        next(responses)
        responses.cancel()
    wait_until(lambda: service.num_fds() <= before, what="closing of the searches' memory")
    forms = long_search.asked.forms[:1]
    long_search.gallery.check(evaluator.score(long_search.gallery, forms))
