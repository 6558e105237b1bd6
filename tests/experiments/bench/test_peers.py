"""CleanRL's script in a process of its own, stood in for by small scripts; and what is refused."""

import time
from pathlib import Path

import pytest

from reverie.envs.errors import UsageError
from reverie.experiments.bench.peers import (
    CLEANRL_SCRIPT,
    PACKAGES,
    Contender,
    check_peers,
    cleanrl_ppo,
)

ROLLOUTS = """
import sys
from pathlib import Path
for rollout in range(1, 4):
    Path(__file__).with_name("rollouts").write_text(f"{rollout} {' '.join(sys.argv[1:])}")
    print("episodic_return=0")
    print("SPS:", 100)
"""


def contender(folder: Path, script: str) -> Contender:
    path = folder / CLEANRL_SCRIPT
    path.parent.mkdir()
    path.write_text(script)
    return cleanrl_ppo(str(folder), "ms_pacman", num_envs=4, threads=1, device="cpu")


def test_a_round_is_one_rollout_of_the_script_which_waits_between_rounds(tmp_path: Path) -> None:
    peer = contender(tmp_path, ROLLOUTS)
    rollouts = tmp_path / CLEANRL_SCRIPT.with_name("rollouts")
    assert not rollouts.exists()
    for number in (1, 2):
        assert peer.run() == 4 * 128
        time.sleep(0.05)  # in which it would go on
        assert rollouts.read_text() == f"{number} --env-id MsPacman-v5 --num-envs 4 --no-cuda"
    peer.close()
    assert rollouts.read_text()[0] == "2"


def test_a_script_that_fails_is_reported_by_its_last_error(tmp_path: Path) -> None:
    peer = contender(tmp_path, "import no_such_emulators\n")
    with pytest.raises(UsageError, match="No module named 'no_such_emulators'; install"):
        peer.run()
    peer.close()


@pytest.mark.parametrize(
    ("compare_with", "message"),
    [
        ("cleanrl", "there is no file"),
        ("cleanrl=/no/such/folder", "name the folder of a checkout"),
        ("sb3=/no/such/folder", "Unknown library"),
        ("gymnasium", "takes sb3, envpool and cleanrl=FOLDER"),
    ],
)
def test_what_is_no_library_is_refused(compare_with: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_peers(compare_with)


def test_a_module_that_a_library_needs_is_missed_before_the_measurement(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(PACKAGES, "sb3", {"gymnasium": "gymnasium", "absent_cv2": "opencv"})
    with pytest.raises(UsageError, match="sb3: No module named 'absent_cv2'; run `pip install op"):
        check_peers("sb3")


def test_a_folder_is_kept_with_the_library(tmp_path: Path) -> None:
    contender(tmp_path, "").close()
    assert check_peers(f"cleanrl={tmp_path}") == {"cleanrl": str(tmp_path)}
    assert check_peers("") == {}
