import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import models.starter
from models.loading.loader import describe
from models.loading.refs import ModelLoadError, ModelRef, Source
from models.serving.engine import Engine, EngineFailed, FinishReason, Sampling
from models.serving.pool import ModelPool
from tests.processes import LIMIT_SECONDS

STARTER_FOLDER = models.starter.FOLDER
STARTER = ModelRef(Source.BUNDLED, "starter")


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> ModelRef:
    folder = tmp_path_factory.mktemp("other")
    for file in STARTER_FOLDER.iterdir():
        if file.suffix in (".json", ".safetensors"):
            shutil.copy(file, folder)
    return ModelRef(Source.LOCAL, str(folder))


@pytest.fixture
def pool() -> Iterator[ModelPool]:
    pool = ModelPool()
    yield pool
    pool.close()


# The size of two models' float32 weights: one model fits with its cache, two do not.
TIGHT = 2 * 2 * describe(STARTER).weight_bytes


def test_concurrent_borrowers_share_one_load(pool: ModelPool) -> None:
    together = threading.Barrier(4)

    def engine_of(_: int) -> int:
        together.wait()
        with pool.borrow(STARTER) as engine:
            return id(engine)

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(engine_of, range(4)))) == 1
    assert pool.statistics().models == 1


def test_only_borrowers_who_have_to_wait_for_a_load_are_called_back(pool: ModelPool, other: ModelRef) -> None:
    calls: list[str] = []
    both_wait = threading.Event()

    def first_waits() -> None:
        calls.append("first")
        second.start()
        assert both_wait.wait(LIMIT_SECONDS)

    def borrow_second() -> None:
        def on_wait() -> None:
            calls.append("second")
            both_wait.set()

        with pool.borrow(other, on_wait) as engine:
            engines.append(engine)

    engines: list[Engine] = []
    second = threading.Thread(target=borrow_second)
    with pool.borrow(other, first_waits) as engine:
        assert calls == ["first", "second"]
        second.join(LIMIT_SECONDS)
        assert engines == [engine]
    with pool.borrow(other, lambda: calls.append("loaded")):
        pass
    assert calls == ["first", "second"]
    engine.close()
    with pool.borrow(other, lambda: calls.append("died")):
        pass
    assert calls == ["first", "second", "died"]


def test_two_models_stay_loaded_if_both_fit(pool: ModelPool, other: ModelRef) -> None:
    for ref in (STARTER, other):
        with pool.borrow(ref):
            pass
    assert pool.statistics().models == 2


def test_the_least_recently_used_engine_is_closed_to_make_room(other: ModelRef) -> None:
    pool = ModelPool(memory_budget_bytes=TIGHT, device="cpu")
    with pool.borrow(STARTER) as first:
        pass
    with pool.borrow(other):
        assert not first.alive
        assert pool.statistics().models == 1
        assert pool.statistics().bytes <= pool.statistics().budget_bytes
    pool.close()


def test_a_borrowed_engine_is_not_closed_to_make_room(other: ModelRef) -> None:
    pool = ModelPool(memory_budget_bytes=TIGHT, device="cpu")
    waiting = threading.Thread(target=lambda: pool.borrow(other).__enter__())
    with pool.borrow(STARTER) as engine:
        waiting.start()
        request = engine.submit("### Instruction:\n", Sampling(max_new_tokens=20))
        assert request.future.result(LIMIT_SECONDS).finish_reason in (FinishReason.STOP, FinishReason.LENGTH)
        waiting.join(0.5)
        assert waiting.is_alive()
        assert engine.alive
    waiting.join(LIMIT_SECONDS)
    assert not waiting.is_alive()
    assert not engine.alive
    pool.close()


def test_a_model_larger_than_the_budget_is_refused_with_both_numbers() -> None:
    pool = ModelPool(memory_budget_bytes=1_000_000)
    with pytest.raises(ModelLoadError, match="1,000,000"), pool.borrow(STARTER):
        pass


def test_a_dead_engine_is_replaced(pool: ModelPool) -> None:
    with pool.borrow(STARTER) as dead:
        dead.close()
        with pytest.raises(EngineFailed):
            dead.submit("### Instruction:\n", Sampling())
    with pool.borrow(STARTER) as engine:
        assert engine is not dead
        request = engine.submit("### Instruction:\n", Sampling(max_new_tokens=3))
        assert request.future.result(LIMIT_SECONDS).completion_tokens == 3


def test_a_failed_load_is_tried_again_by_the_next_borrower(pool: ModelPool, other: ModelRef, tmp_path: Path) -> None:
    ref = ModelRef(Source.LOCAL, str(tmp_path / "later"))
    with pytest.raises(ModelLoadError), pool.borrow(ref):
        pass
    shutil.copytree(other.location, ref.location)
    with pool.borrow(ref) as engine:
        assert engine.alive
