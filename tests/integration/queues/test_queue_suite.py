"""What every queue does, run over each of them."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest
from support.queues import JOB, OTHER_JOB, TAKE_SECONDS, Place, message, published, taken
from support.services import wait_until

from blindsight.errors import InvalidArgument, ResourceExhausted, Unavailable
from blindsight.trusted.queue import Consumer, Delivery, Message, Queue, open_queue
from blindsight.trusted.queue.messages import MAX_BODY_BYTES


def waiting(queue: Queue) -> tuple[int, int]:
    """How many wait, and how many are dead."""
    depth = queue.depth()
    return depth.ready, depth.dead


@pytest.mark.parametrize("size", [0, 100, 100_000, 20_000_000])
def test_a_message_comes_whole_and_is_gone_when_it_is_acknowledged(queue: Queue, size: int) -> None:
    sent = message(size)
    queue.publish(sent)
    assert waiting(queue) == (1, 0)
    consumer = queue.consumer(prefetch=1)
    delivery = taken(consumer)
    assert (delivery.message, delivery.count) == (sent, 1)
    assert delivery.ack()
    consumer.close()
    assert queue.consumer(prefetch=1).take(0.3) is None
    assert waiting(queue) == (0, 0)


def test_the_largest_message_passes(queue: Queue) -> None:
    sent = message(80_000_000)
    queue.publish(sent)
    assert taken(queue.consumer(prefetch=1)).message == sent


def test_messages_come_in_the_order_of_publishing(queue: Queue) -> None:
    sent = published(queue, 20)
    consumer = queue.consumer(prefetch=20)
    assert [taken(consumer).message for _ in sent] == sent


def test_messages_that_are_published_together_come_in_their_order(queue: Queue) -> None:
    sent = [message() for _ in range(20)]
    assert queue.publish(*sent) == 20
    assert queue.publish() == 0
    consumer = queue.consumer(prefetch=20)
    assert [taken(consumer).message for _ in sent] == sent


def test_several_are_taken_as_far_as_they_are_there_and_the_prefetch_allows(queue: Queue) -> None:
    sent = published(queue, 9)
    consumer = queue.consumer(prefetch=6)
    first = taken_together(consumer, 4)
    assert [delivery.message for delivery in first] == sent[:4]
    assert consumer.ack_all(first[:1]) == [True]
    rest = taken_together(consumer, 3)
    assert [delivery.message for delivery in rest] == sent[4:7]
    assert consumer.take_some(0.3, 5) == []
    assert consumer.ack_all([*first, *rest]) == [False] + [True] * 6
    assert [delivery.message for delivery in taken_together(consumer, 2)] == sent[7:]


def taken_together(consumer: Consumer, count: int) -> list[Delivery]:
    """The next so many; a broker may bring them in parts."""
    found: list[Delivery] = []
    while len(found) < count:
        some = consumer.take_some(TAKE_SECONDS, count - len(found))
        assert 1 <= len(some) <= count - len(found)
        found += some
    return found


def test_acknowledging_together_tells_what_was_settled_before(queue: Queue) -> None:
    published(queue, 3)
    consumer = queue.consumer(prefetch=3)
    held = taken_together(consumer, 3)
    assert held[1].reject("broken")
    assert consumer.ack_all(held) == [True, False, True]
    assert consumer.ack_all([]) == []
    assert waiting(queue) == (0, 1)


def test_no_more_than_the_prefetch_is_with_a_consumer(queue: Queue) -> None:
    published(queue, 4)
    consumer = queue.consumer(prefetch=2)
    first, _ = taken(consumer), taken(consumer)
    assert consumer.take(0.3) is None
    assert queue.depth().unacknowledged in (2, None)
    wait_until(lambda: waiting(queue) == (2, 0))
    assert first.ack()
    assert taken(consumer).count == 1
    assert consumer.take(0.3) is None


def test_what_is_put_back_comes_again_with_a_higher_count(queue: Queue) -> None:
    (sent,) = published(queue, 1)
    consumer = queue.consumer(prefetch=1)
    assert taken(consumer).nack()
    again = taken(consumer)
    assert (again.message, again.count) == (sent, 2)


def test_a_message_is_delivered_as_often_as_the_limit_allows(place: Place) -> None:
    with place.but(max_deliveries=3).open() as queue:
        began = int(time.time())
        (sent,) = published(queue, 1)
        consumer = queue.consumer(prefetch=1)
        for count in (1, 2, 3):
            delivery = taken(consumer)
            assert delivery.count == count
            assert delivery.nack()
        assert consumer.take(0.5) is None
        wait_until(lambda: waiting(queue) == (0, 1))
        (letter,) = queue.dead_letters(JOB)
        assert (letter.message_id, letter.job_id) == (sent.message_id, JOB)
        assert (letter.reason, letter.deliveries) == ("delivered 3 times", 3)
        assert began - 1 <= letter.dead_unix_seconds <= time.time() + 1


def test_a_rejected_message_is_listed_with_its_reason_by_its_job(queue: Queue) -> None:
    (sent,) = published(queue, 1)
    (other,) = published(queue, 1, OTHER_JOB)
    consumer = queue.consumer(prefetch=2)
    assert taken(consumer).reject("INVALID_IMAGE")
    assert taken(consumer).reject("too large to decode")
    wait_until(lambda: waiting(queue) == (0, 2))
    (letter,) = queue.dead_letters(JOB)
    assert (letter.message_id, letter.reason, letter.deliveries) == (sent.message_id, "INVALID_IMAGE", 1)
    (letter,) = queue.dead_letters(OTHER_JOB)
    assert (letter.message_id, letter.reason) == (other.message_id, "too large to decode")
    assert {one.job_id for one in queue.dead_letters()} == {JOB, OTHER_JOB}
    # Looking at them changes nothing.
    assert len(queue.dead_letters()) == 2
    assert queue.dead_letters(b"a job that isn't") == []


def dead(queue: Queue) -> list[Message]:
    """Three dead letters of a job, and one of another."""
    sent = [*published(queue, 3), *published(queue, 1, OTHER_JOB)]
    consumer = queue.consumer(prefetch=4)
    for _ in sent:
        assert taken(consumer).reject("broken")
    consumer.close()
    wait_until(lambda: waiting(queue) == (0, 4))
    return sent


def test_requeued_dead_letters_are_new_messages(queue: Queue) -> None:
    sent = dead(queue)
    assert queue.requeue(JOB, sent[1].message_id) == 1
    assert queue.requeue(JOB, sent[1].message_id) == 0
    consumer = queue.consumer(prefetch=4)
    delivery = taken(consumer)
    assert (delivery.message, delivery.count) == (sent[1], 1)
    assert queue.requeue(JOB) == 2
    assert {taken(consumer).message.message_id for _ in range(2)} == {
        sent[0].message_id,
        sent[2].message_id,
    }
    assert [letter.job_id for letter in queue.dead_letters()] == [OTHER_JOB]


def test_dropped_dead_letters_are_gone(queue: Queue) -> None:
    sent = dead(queue)
    assert queue.drop(JOB, sent[1].message_id) == 1
    assert len(queue.dead_letters(JOB)) == 2
    assert queue.drop(JOB) == 2
    assert queue.drop(JOB) == 0
    assert [letter.message_id for letter in queue.dead_letters()] == [sent[3].message_id]
    assert waiting(queue) == (0, 1)


def publish_until_refused(queue: Queue, accepted: list[Message]) -> None:
    for _ in range(100):
        sent = message(1000)
        queue.publish(sent)
        accepted.append(sent)


@pytest.mark.parametrize("bound", [{"max_messages": 10}, {"max_bytes": 10 * 1004}])
def test_a_full_queue_refuses_and_loses_nothing(place: Place, bound: dict[str, int]) -> None:
    with place.but(**bound).open() as queue:
        accepted: list[Message] = []
        with pytest.raises(ResourceExhausted, match="the queue is full: it takes"):
            publish_until_refused(queue, accepted)
        # A broker tells its publishers to stop a little late.
        assert 10 <= len(accepted) < 40
        consumer = queue.consumer(prefetch=5)
        for one in accepted:
            delivery = taken(consumer)
            assert delivery.message == one
            assert delivery.ack()
        assert consumer.take(0.3) is None
        (sent,) = published(queue, 1)
        assert taken(consumer).message == sent


def test_a_full_queue_takes_the_first_of_what_is_published_together(place: Place) -> None:
    with place.but(max_messages=10).open() as queue:
        sent = [message(1000) for _ in range(100)]
        count = queue.publish(*sent)
        assert 10 <= count < 40
        with pytest.raises(ResourceExhausted, match="the queue is full"):
            queue.publish(*sent[count:])
        consumer = queue.consumer(prefetch=100)
        assert [taken(consumer).message for _ in range(count)] == sent[:count]
        assert consumer.take(0.3) is None


def test_a_full_queue_keeps_the_dead_letters_that_do_not_fit(place: Place) -> None:
    with place.but(max_messages=2).open() as queue:
        sent = published(queue, 2)
        consumer = queue.consumer(prefetch=2)
        for _ in sent:
            assert taken(consumer).reject("broken")
        consumer.close()
        with pytest.raises(ResourceExhausted):
            published(queue, 50)
        with pytest.raises(ResourceExhausted, match="the queue is full"):
            queue.requeue(JOB)
        assert len(queue.dead_letters(JOB)) == 2


def test_two_consumers_share_the_messages(queue: Queue) -> None:
    sent = published(queue, 40)
    consumers = [queue.consumer(prefetch=1), queue.consumer(prefetch=1)]
    shares: list[Counter[bytes]] = [Counter(), Counter()]
    while sum(map(len, shares)) < len(sent):
        for consumer, share in zip(consumers, shares, strict=True):
            delivery = consumer.take(5)
            if delivery is not None:
                share[delivery.message.message_id] += 1
                assert delivery.ack()
    assert (shares[0] + shares[1]) == Counter(one.message_id for one in sent)
    assert min(map(len, shares)) > 0


def test_a_consumer_that_is_closed_gives_back_what_it_did_not_settle(queue: Queue) -> None:
    sent = published(queue, 3)
    first = queue.consumer(prefetch=3)
    held = [taken(first) for _ in sent]
    assert held[0].ack()
    first.close()
    assert not held[1].ack()
    assert not held[2].reject("late")
    assert [first.take(0), first.take(0)] == [None, None]
    second = queue.consumer(prefetch=3)
    assert [taken(second).message for _ in range(2)] == sent[1:]
    assert queue.dead_letters() == []


def test_a_delivery_is_settled_once(queue: Queue) -> None:
    published(queue, 3)
    consumer = queue.consumer(prefetch=1)
    delivery = taken(consumer)
    assert delivery.ack()
    assert not delivery.ack()
    assert not delivery.nack()
    assert not delivery.reject("late")
    assert taken(consumer).count == 1  # the consumer goes on, and its prefetch is what it was
    assert consumer.take(0.3) is None
    assert queue.dead_letters() == []


def test_work_that_takes_longer_than_the_silence_allowed_keeps_its_message(
    place: Place, queue: Queue
) -> None:
    published(queue, 1)
    consumer, other = queue.consumer(prefetch=1), queue.consumer(prefetch=1)
    delivery = taken(consumer)
    assert other.take(1.75 * place.settings.silence_seconds) is None
    assert delivery.ack()
    assert other.take(0.3) is None
    assert waiting(queue) == (0, 0)


def test_threads_may_share_a_queue_and_a_consumer(queue: Queue) -> None:
    count, threads = 10, 4
    arrived: Counter[bytes] = Counter()
    consumer = queue.consumer(prefetch=8)
    errors = []

    def work() -> None:
        try:
            published(queue, count)
            for _ in range(count):
                delivery = taken(consumer)
                arrived[delivery.message.message_id] += 1
                assert delivery.ack()
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=work) for _ in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert errors == []
    assert len(arrived) == arrived.total() == count * threads


def test_messages_outlive_the_process_that_published_them(place: Place) -> None:
    with place.open() as queue:
        sent = published(queue, 3)
    with place.open() as queue:
        consumer = queue.consumer(prefetch=3)
        assert [taken(consumer).message for _ in sent] == sent


def test_a_cancelled_job_is_purged_or_acknowledged_away(queue: Queue) -> None:
    published(queue, 3)
    (other,) = published(queue, 1, OTHER_JOB)
    left = 3 - queue.purge(JOB)
    consumer = queue.consumer(prefetch=1)
    for _ in range(left):
        assert taken(consumer).ack()
    assert taken(consumer).message == other


def test_a_closed_queue_says_so(place: Place) -> None:
    queue = place.open()
    queue.close()
    queue.close()
    with pytest.raises(Unavailable, match="the queue is closed"):
        queue.publish(message())


@pytest.mark.parametrize("reason", ["", "holiday.jpg", "a/b", "x" * 65, "two\nlines", "ünicode"])
def test_a_reason_is_words_that_the_broker_may_read(queue: Queue, reason: str) -> None:
    published(queue, 1)
    delivery = taken(queue.consumer(prefetch=1))
    with pytest.raises(InvalidArgument, match="a reason is 1 to 64 letters"):
        delivery.reject(reason)
    assert delivery.ack()


def test_what_is_not_sealed_never_reaches_a_queue() -> None:
    with pytest.raises(InvalidArgument, match="not sealed"):
        Message(bytes(16), bytes(16), b"\xff\xd8\xff\xe0 a photo")
    with pytest.raises(InvalidArgument, match="message_id has 15 bytes, want 16"):
        Message(bytes(15), bytes(16), b"BSSB")
    with pytest.raises(InvalidArgument, match="want at most"):
        Message(bytes(16), bytes(16), b"BSSB" + bytes(MAX_BODY_BYTES))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hidden",
        "http://hidden@there",
        "embedded:",
        "embedded:/",
        "embedded://host/x",
        "amqp:///",
        "amqp://u:hidden@h:x/",
        "amqp://u:hid/hidden@h/",
        "amqp://u:12/hidden@h",
        "amqp://u:hid?hidden@h/",
        "amqp://u:hid#hidden@h/",
    ],
)
def test_a_url_that_is_none_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        open_queue(url)
    assert "hidden" not in caught.value.message
