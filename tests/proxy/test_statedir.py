"""Tables kept on disk."""

import asyncio
from pathlib import Path

import pytest

from milliroute.proxy.agent.keeper import Keeper
from milliroute.proxy.agent.statedir import Kept, StateDir
from milliroute.proxy.errors import ListenError


def kept(key: str, state: bytes = b"s") -> Kept:
    return Kept(key, [key, f"{key}.svc"], state)


def test_what_was_written_is_there_for_the_next_process(tmp_path: Path) -> None:
    StateDir(str(tmp_path / "new")).write(kept("reviews.default:9080"))
    assert StateDir(str(tmp_path / "new")).load() == ([kept("reviews.default:9080")], [])


def test_a_newer_state_replaces_the_older_one_and_leaves_no_other_file(tmp_path: Path) -> None:
    state_dir = StateDir(str(tmp_path))
    for state in (b"1", b"2"):
        state_dir.write(kept("a", state))
    assert state_dir.load()[0] == [kept("a", b"2")]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_key_made_by_a_hostile_client_stays_inside_the_directory(tmp_path: Path) -> None:
    state_dir = StateDir(str(tmp_path / "state"))
    state_dir.write(kept("../../etc/passwd\0"))
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert len(state_dir.load()[0]) == 1


def test_a_broken_file_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    state_dir = StateDir(str(tmp_path))
    state_dir.write(kept("a"))
    (tmp_path / "half.state").write_bytes(b"\x93\x01")
    good, problems = state_dir.load()
    assert [item.key for item in good] == ["a"]
    assert "half.state" in problems[0]


def test_a_removed_key_is_gone_and_may_be_removed_again(tmp_path: Path) -> None:
    state_dir = StateDir(str(tmp_path))
    state_dir.write(kept("a"))
    state_dir.remove("a")
    state_dir.remove("a")
    assert state_dir.load() == ([], [])


def test_a_directory_that_cannot_be_made_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ListenError, match="cannot use state directory"):
        StateDir(str(tmp_path / "file" / "below"))


def test_the_keeper_writes_the_newest_of_each_key(tmp_path: Path) -> None:
    state_dir = StateDir(str(tmp_path))
    state_dir.write(kept("dropped"))

    async def scenario() -> None:
        keeper = Keeper(state_dir)
        keeper.keep("a", kept("a", b"1").authorities, b"1")
        keeper.keep("a", kept("a", b"2").authorities, b"2")
        keeper.drop("dropped")
        await keeper.flush()

    asyncio.run(scenario())
    assert state_dir.load()[0] == [kept("a", b"2")]
