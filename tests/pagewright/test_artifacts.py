"""The artifact store: on a local folder, and on S3's own protocol over HTTP."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from pagewright.artifacts import ArtifactStore
from tests.disk import files_no_larger_than

FILES = {"adapter.json": b"{}", "deep/er/weights": bytes(range(256)) * 12_000, "deep/empty": b""}
SIZES = {name: len(content) for name, content in sorted(FILES.items())}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of a bucket on a local S3 server, which botocore finds through environment variables."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL_S3", f"http://{host}:{port}")
        environment.setenv("AWS_ACCESS_KEY_ID", "key")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        environment.setenv("AWS_DEFAULT_REGION", "us-east-1")
        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
    server.stop()


@pytest.fixture(params=["local", "s3"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "local":
        return str(tmp_path / "store")
    return f"{request.getfixturevalue('s3')}/{tmp_path.name}"


@pytest.fixture
def store(url: str, tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(url, tmp_path / "cache")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    write(folder, FILES)
    (folder / "no files").mkdir()
    return folder


def write(folder: Path, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_is_stored_with_its_subfolders(store: ArtifactStore, source: Path) -> None:
    store.put_folder(source, "models/1")
    assert list(store.files("models/1").items()) == list(SIZES.items())
    assert b"".join(store.read("models/1/deep/er/weights")) == FILES["deep/er/weights"]
    assert b"".join(store.read("models/1/deep/empty")) == b""


def test_a_large_file_is_read_in_chunks(store: ArtifactStore, source: Path) -> None:
    store.put_folder(source, "models/1")
    chunks = list(store.read("models/1/deep/er/weights"))
    assert len(chunks) > 1
    assert max(map(len, chunks)) <= 1024 * 1024


def test_a_file_can_be_read_from_any_position(store: ArtifactStore, source: Path) -> None:
    store.put_folder(source, "models/1")
    with store.open("models/1/deep/er/weights") as file:
        file.seek(-2, 2)
        assert file.read() == b"\xfe\xff"
        file.seek(256 * 7 + 65)
        assert file.read(3) == b"ABC"


def test_an_artifact_has_one_local_folder(store: ArtifactStore, source: Path) -> None:
    store.put_folder(source, "models/1")
    folder = store.local_folder("models/1")
    assert contents(folder) == FILES
    inode = (folder / "adapter.json").stat().st_ino
    assert store.local_folder("models/1") == folder
    assert (folder / "adapter.json").stat().st_ino == inode


def test_concurrent_readers_all_get_the_complete_artifact(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    store.put_folder(source, "models/1")
    barrier = Barrier(4)

    def read(_: int) -> dict[str, bytes]:
        barrier.wait()
        return contents(store.local_folder("models/1"))

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(read, range(4))) == [FILES] * 4
    assert not list(tmp_path.rglob("*.partial"))


def test_a_missing_artifact_has_no_files_and_reading_it_is_an_error_that_names_it(
    store: ArtifactStore, source: Path
) -> None:
    store.put_folder(source, "models/10")
    assert store.files("models/1") == {}
    assert store.files("models/10/adapter.json") == {}
    assert store.list("datasets") == []
    with pytest.raises(FileNotFoundError, match="models/1"):
        store.local_folder("models/1")
    with pytest.raises(FileNotFoundError):
        store.open("models/1/adapter.json")
    with pytest.raises(FileNotFoundError):
        list(store.read("models/1/adapter.json"))


def test_deleting_an_artifact_deletes_its_local_copy(store: ArtifactStore, source: Path) -> None:
    store.put_folder(source, "models/1")
    store.put_folder(source, "models/10")
    folder = store.local_folder("models/1")
    store.delete("models/1")
    assert not folder.exists()
    assert store.files("models/1") == {}
    assert store.files("models/10") == SIZES
    with pytest.raises(FileNotFoundError):
        store.local_folder("models/1")
    store.delete("models/1")


def test_a_listing_shows_what_another_process_stored_and_deleted(store: ArtifactStore, url: str, source: Path) -> None:
    assert store.list("models") == []
    other = ArtifactStore(url, source)
    other.put_folder(source, "models/2")
    other.put_folder(source, "models/1")
    assert store.list("models") == ["models/1", "models/2"]
    assert store.list("models/1") == ["models/1/adapter.json", "models/1/deep"]
    other.delete("models/2")
    assert store.list("models") == ["models/1"]
    assert store.files("models/2") == {}


@pytest.mark.parametrize("path", ["", "/", "/etc", "..", "../x", "models/../../x", "models/.."])
def test_a_path_outside_of_the_store_is_refused(store: ArtifactStore, source: Path, path: str) -> None:
    for use in (store.files, store.local_folder, store.open, store.list, store.delete):
        with pytest.raises(ValueError, match="not a path"):
            use(path)
    with pytest.raises(ValueError, match="not a path"):
        store.put_folder(source, path)
    with pytest.raises(ValueError, match="not a path"):
        list(store.read(path))


def test_storing_an_artifact_replaces_an_incomplete_one(store: ArtifactStore, source: Path, tmp_path: Path) -> None:
    write(tmp_path / "half", {"adapter.json": b"{ a longer one", "deep/er/weights.0123.partial": b"half of them"})
    store.put_folder(tmp_path / "half", "models/1")
    store.put_folder(source, "models/1")
    assert store.files("models/1") == SIZES
    assert contents(store.local_folder("models/1")) == FILES


def test_an_artifact_that_does_not_fit_on_the_disk_is_an_error_and_leaves_no_files(
    source: Path, tmp_path: Path
) -> None:
    store = ArtifactStore(str(tmp_path / "store"), tmp_path / "cache")
    with files_no_larger_than(1_000_000), pytest.raises(OSError, match="too large"):
        store.put_folder(source, "models/1")
    assert contents(tmp_path / "store") == {}
    store.put_folder(source, "models/1")
    assert store.files("models/1") == SIZES


def test_a_copy_that_does_not_fit_on_the_disk_is_an_error_and_is_made_later(
    s3: str, source: Path, tmp_path: Path
) -> None:
    store = ArtifactStore(f"{s3}/full", tmp_path / "cache")
    store.put_folder(source, "models/1")
    with files_no_larger_than(1_000_000), pytest.raises(OSError, match="too large"):
        store.local_folder("models/1")
    assert contents(tmp_path / "cache").keys() <= {"copying.lock"}
    assert contents(store.local_folder("models/1")) == FILES


def test_an_incomplete_copy_of_a_killed_process_is_removed_by_the_next_copy(
    s3: str, source: Path, tmp_path: Path
) -> None:
    store = ArtifactStore(f"{s3}/killed", tmp_path / "cache")
    store.put_folder(source, "models/1")
    write(tmp_path / "cache" / "copying" / "killed", {"lock": b"", "copy/adapter.json": b"{"})
    assert contents(store.local_folder("models/1")) == FILES
    assert list((tmp_path / "cache" / "copying").iterdir()) == []


def test_a_store_that_does_not_answer_is_an_os_error_and_existing_copies_are_used(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    s3fs.S3FileSystem.clear_instance_cache()
    # no retries: the defaults take half a minute
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    store = ArtifactStore("s3://away/store", tmp_path / "cache")
    write(tmp_path / "cache" / "models" / "copied", FILES)
    assert contents(store.local_folder("models/copied")) == FILES
    for use in (store.files, store.local_folder, store.open, store.list, store.delete):
        with pytest.raises(OSError, match=r"127\.0\.0\.1:9"):
            use("models/1")
    with pytest.raises(OSError, match=r"127\.0\.0\.1:9"):
        store.put_folder(source, "models/1")
    s3fs.S3FileSystem.clear_instance_cache()
