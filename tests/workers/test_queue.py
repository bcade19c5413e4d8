import json
import uuid

import pytest
from redis import Redis
from uuid_utils.compat import uuid7

from db.vocabulary import JobKind, QueueName
from workers import queue

pytestmark = pytest.mark.usefixtures("empty_redis")


@pytest.fixture
def empty_redis(redis: Redis) -> None:
    redis.flushdb()


def messages(redis: Redis) -> list[list[str]]:
    """The job ids of the queue's messages, oldest first."""
    import base64

    raw = reversed(redis.lrange("test:generation", 0, -1))
    return [json.loads(base64.b64decode(json.loads(message)["body"]))[0][0] for message in raw]


def test_a_message_carries_job_ids_and_nothing_else(redis: Redis) -> None:
    job_id = uuid7()
    assert queue.publish(JobKind.GENERATION, [job_id])
    assert messages(redis) == [[str(job_id)]]


def test_the_jobs_of_a_batch_share_messages_and_keep_their_order(redis: Redis) -> None:
    ids = [uuid7() for _ in range(2 * queue.JOBS_PER_MESSAGE + 1)]
    queue.publish(JobKind.GENERATION, ids)
    sent = messages(redis)
    assert [len(message) for message in sent] == [queue.JOBS_PER_MESSAGE, queue.JOBS_PER_MESSAGE, 1]
    assert [uuid.UUID(job_id) for message in sent for job_id in message] == ids


def test_a_build_job_has_a_message_of_its_own(redis: Redis) -> None:
    queue.publish(JobKind.FINE_TUNE, [uuid7(), uuid7()])
    assert redis.llen("test:builds") == 2


def test_the_oldest_message_is_the_next_to_be_received() -> None:
    assert queue.oldest_message(QueueName.GENERATION) is None
    first, second = uuid7(), uuid7()
    queue.publish(JobKind.GENERATION, [first])
    queue.publish(JobKind.GENERATION, [second])
    assert queue.oldest_message(QueueName.GENERATION) == first


def test_messages_of_other_programs_do_not_hide_the_oldest_message(redis: Redis) -> None:
    first = uuid7()
    queue.publish(JobKind.GENERATION, [first])
    redis.rpush("test:generation", "hello", '{"a": 1}')
    assert queue.oldest_message(QueueName.GENERATION) == first
    assert redis.lrange("test:foreign", 0, -1) == [b"hello", b'{"a": 1}']


def live_workers() -> dict[QueueName, int]:
    """The number of live workers of each queue that has any."""
    numbers = queue.live_workers()
    assert set(numbers) == set(QueueName)
    return {name: number for name, number in numbers.items() if number}


def test_a_worker_counts_as_live_from_its_announcement_until_it_withdraws() -> None:
    assert queue.live_workers() == {
        QueueName.GENERATION: 0,
        QueueName.EVALUATION: 0,
        QueueName.PULL: 0,
        QueueName.BUILDS: 0,
    }
    queue.announce("a", [QueueName.GENERATION])
    queue.announce("a", [QueueName.GENERATION])
    queue.announce("b", [QueueName.GENERATION])
    assert queue.live_workers() == {
        QueueName.GENERATION: 2,
        QueueName.EVALUATION: 0,
        QueueName.PULL: 0,
        QueueName.BUILDS: 0,
    }
    queue.announce("c", [QueueName.BUILDS])
    queue.withdraw("a", [QueueName.GENERATION])
    assert queue.live_workers() == {
        QueueName.GENERATION: 1,
        QueueName.EVALUATION: 0,
        QueueName.PULL: 0,
        QueueName.BUILDS: 1,
    }


def test_a_worker_that_stops_announcing_itself_no_longer_counts_as_live(redis: Redis) -> None:
    queue.announce("a", [QueueName.GENERATION])
    redis.zincrby("test:workers:generation", -queue.WORKER_EXPIRY_SECONDS - 1, "a")
    assert queue.live_workers() == {
        QueueName.GENERATION: 0,
        QueueName.EVALUATION: 0,
        QueueName.PULL: 0,
        QueueName.BUILDS: 0,
    }
