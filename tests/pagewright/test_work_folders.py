"""Work folders of processes that end, are killed, or still run."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pagewright.work_folders import remove_abandoned, work_folder


def test_a_folder_is_removed_at_the_end_of_its_block_and_not_before(tmp_path: Path) -> None:
    with work_folder(tmp_path / "work") as folder:
        (folder / "file").write_text("text")
        remove_abandoned(tmp_path / "work")
        assert (folder / "file").read_text() == "text"
    assert list((tmp_path / "work").iterdir()) == []


def test_folders_of_a_killed_process_are_removed_locked_or_not(tmp_path: Path) -> None:
    code = f"""if True:
        import os, signal
        from pathlib import Path
        from pagewright.work_folders import work_folder
        with work_folder(Path({str(tmp_path / "work")!r})) as folder:
            (folder / "file").write_text("text")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    os.mkdir(tmp_path / "work" / "not-locked")
    assert len(list((tmp_path / "work").iterdir())) == 2
    remove_abandoned(tmp_path / "work")
    assert list((tmp_path / "work").iterdir()) == []


def test_a_folder_that_is_being_created_is_not_removed(tmp_path: Path) -> None:
    def use(_: int) -> bool:
        with work_folder(tmp_path / "work") as folder:
            return folder.is_dir()

    with ThreadPoolExecutor(8) as threads:
        removing = [threads.submit(remove_abandoned, tmp_path / "work") for _ in range(200)]
        assert all(threads.map(use, range(200)))
        for future in removing:
            future.result()
