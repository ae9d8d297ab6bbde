"""source.files: reading, what is in force when a file is broken, and watching real files."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from milliroute.control.errors import ConfigError, SourceError
from milliroute.control.model import Objects
from milliroute.control.source.files import FileSource, backend_objects

from .building import SPLIT

# Seconds until a test that waits for a change gives up; a change takes 0.02.
PATIENCE_S = 60.0


def weight(objects: Objects) -> str:
    return objects.splits[0].backends[0].weight_text


def states(objects: Objects) -> list[str]:
    return [source.state for source in objects.sources]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_folder_is_its_yaml_and_json_files_in_order(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "c.json"):
        write(tmp_path / name, SPLIT.replace("name: reviews\n", f"name: {name[0]}\n"))
    for name in (".hidden.yaml", "notes.txt"):
        write(tmp_path / name, "[")
    (tmp_path / "d.yaml").mkdir()
    found = FileSource([tmp_path]).read()
    assert [split.name for split in found.splits] == ["a", "b", "c"]
    assert [source.path for source in found.sources] == [str(tmp_path / name) for name in ("a.yaml", "b.yml", "c.json")]


def test_an_empty_folder_and_an_empty_file_are_a_valid_start(tmp_path: Path) -> None:
    assert FileSource([tmp_path]).read() == Objects()
    assert states(FileSource([write(tmp_path / "a.yaml", "")]).read()) == ["ok"]


def test_a_path_that_does_not_exist_is_an_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file or folder"):
        FileSource([tmp_path / "no.yaml"]).read()


def test_a_broken_file_keeps_its_last_good_version_and_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", SPLIT)
    source = FileSource([path])
    source.read()
    write(path, SPLIT.replace("900m", "-1"))
    found = source.read()
    assert (weight(found), states(found)) == ("900m", ["broken"])
    assert found.sources[0].errors[0].startswith(f"{path}:9:13: weight: negative quantity (saw '-1'")
    write(path, SPLIT.replace("900m", "500m"))
    assert (weight(source.read()), states(source.read())) == ("500m", ["ok"])


def test_a_file_that_is_broken_at_first_contributes_nothing_and_harms_no_other(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml", SPLIT + "---\n" + SPLIT.replace("900m", "x"))
    write(tmp_path / "b.yaml", SPLIT.replace("900m", "1"))
    found = FileSource([tmp_path]).read()
    assert (weight(found), states(found)) == ("1", ["broken", "ok"])
    assert [source.in_force for source in found.sources] == ["nothing", "newest"]


def test_a_file_that_was_good_once_keeps_that_version_even_an_empty_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "")
    source = FileSource([path])
    source.read()
    for _ in range(2):
        write(path, "a: [")
        assert source.read().sources[0].in_force == "last good"


def test_a_named_file_that_vanishes_stays_in_force(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", SPLIT)
    source = FileSource([path])
    source.read()
    path.unlink()
    found = source.read()
    assert (weight(found), states(found)) == ("900m", ["broken"])
    assert "the file is gone" in found.sources[0].errors[0]


def test_a_file_that_leaves_its_folder_takes_its_objects_along(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", SPLIT)
    source = FileSource([tmp_path])
    source.read()
    path.unlink()
    assert source.read() == Objects()


def test_a_folder_that_vanishes_stays_in_force(tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    path = write(folder / "a.yaml", SPLIT)
    source = FileSource([folder])
    source.read()
    path.unlink()
    folder.rmdir()
    found = source.read()
    assert (weight(found), states(found)) == ("900m", ["broken", "broken"])


def test_of_two_objects_with_one_name_the_first_wins_and_both_are_named(tmp_path: Path) -> None:
    one, two = write(tmp_path / "a.yaml", SPLIT), write(tmp_path / "b.yaml", SPLIT.replace("900m", "1"))
    found = FileSource([tmp_path]).read()
    assert (len(found.splits), weight(found), states(found)) == (1, "900m", ["ok", "broken"])
    assert found.sources[1].in_force == "rest"
    assert found.sources[1].errors == (
        f"{two}:1:1: TrafficSplit default/reviews is there already (saw it at {one}:1:1, want each once): ignored",
    )


def test_a_path_given_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", SPLIT)
    assert states(FileSource([tmp_path, path]).read()) == ["ok"]


def test_what_is_no_regular_file_is_reported_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    (source,) = FileSource([tmp_path]).read().sources
    assert "not a regular file" in source.errors[0]


def test_a_backend_is_a_service_for_any_port_with_its_endpoints() -> None:
    service, one = backend_objects("reviews-v1.shop=127.0.0.1:9001,[::1]:9002,Host.example.:80,localhost:81")
    assert (service.namespace, service.name, service.ports) == ("shop", "reviews-v1", ())
    assert [(e.addresses, e.port) for e in one.endpoints] == [
        (("127.0.0.1",), 9001),
        (("::1",), 9002),
        (("host.example",), 80),
        (("localhost",), 81),
    ]


@pytest.mark.parametrize(
    "spec",
    ["", "a", "a=", "=h:1", "a=h", "a=h:0", "a=h:x", "a=h:1,", "a.b.c=h:1", "A=h:1", "a:1=h:1", "a=::1:80", "a=h h:1"],
)
def test_a_bad_backend_is_a_usage_error(spec: str) -> None:
    with pytest.raises(ConfigError, match="--backend"):
        FileSource([], [spec])


def test_a_backend_beats_the_endpoints_of_files_but_not_the_ports_of_their_service(tmp_path: Path) -> None:
    text = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80}]}\n---\n"
    text += "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
    text += "metadata: {name: a-1, labels: {kubernetes.io/service-name: a}}\nendpoints: [{addresses: [10.0.0.1]}]\n"
    found = FileSource([write(tmp_path / "a.yaml", text)], ["a=127.0.0.1:9001", "b=127.0.0.1:9002"]).read()
    assert [(s.name, len(s.ports)) for s in found.services] == [("a", 1), ("b", 0)]
    assert [e.addresses[0] for one in found.slices for e in one.endpoints] == ["127.0.0.1", "127.0.0.1"]


class Watched:
    """The stream of a source under test, with a time limit."""

    def __init__(self, source: FileSource) -> None:
        self.stream = source.watch()

    async def next(self) -> Objects:
        return await asyncio.wait_for(anext(self.stream), PATIENCE_S)


@contextlib.asynccontextmanager
async def watched(source: FileSource) -> AsyncIterator[Watched]:
    found = Watched(source)
    try:
        yield found
    finally:
        await found.stream.aclose()  # type: ignore[attr-defined]  # it is a generator


def test_a_watch_gives_the_first_read_at_once_and_then_each_save(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = write(tmp_path / "a.yaml", SPLIT)
        async with watched(FileSource([path])) as found:
            assert weight(await found.next()) == "900m"
            write(path, SPLIT.replace("900m", "500m"))
            assert weight(await found.next()) == "500m"
            os.replace(write(tmp_path / "new", SPLIT.replace("900m", "1")), path)
            assert weight(await found.next()) == "1"

    asyncio.run(scenario())


def test_a_watch_reports_a_broken_save_and_its_repair(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = write(tmp_path / "a.yaml", SPLIT)
        async with watched(FileSource([path])) as found:
            await found.next()
            write(path, "a: [\n")
            broken = await found.next()
            assert (weight(broken), states(broken)) == ("900m", ["broken"])
            write(path, SPLIT)
            assert states(await found.next()) == ["ok"]

    asyncio.run(scenario())


@pytest.mark.parametrize("cut", ["", SPLIT[: SPLIT.index("  - service: reviews-v2")], SPLIT[:-30], SPLIT[:-3]])
def test_a_half_written_file_never_counts(tmp_path: Path, cut: str) -> None:
    path = write(tmp_path / "a.yaml", SPLIT)

    async def writer_goes_on(_: float) -> None:
        write(path, SPLIT.replace("900m", "500m"))

    async def scenario() -> None:
        async with watched(FileSource([path], sleep=writer_goes_on)) as found:
            await found.next()
            write(path, cut)
            seen = await found.next()
            assert (weight(seen), len(seen.splits[0].backends), states(seen)) == ("500m", 2, ["ok"])

    asyncio.run(scenario())


def test_a_mounted_config_map_is_followed_through_its_links(tmp_path: Path) -> None:
    async def scenario() -> None:
        for name, text in (("..1", SPLIT), ("..2", SPLIT.replace("900m", "500m"))):
            (tmp_path / name).mkdir()
            write(tmp_path / name / "a.yaml", text)
        (tmp_path / "..data").symlink_to("..1")
        (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
        for path in (tmp_path, tmp_path / "a.yaml"):
            async with watched(FileSource([path])) as found:
                before = weight(await found.next())
                (tmp_path / "..tmp").symlink_to("..2" if before == "900m" else "..1")
                os.replace(tmp_path / "..tmp", tmp_path / "..data")
                assert {before, weight(await found.next())} == {"900m", "500m"}

    asyncio.run(scenario())


def test_a_file_that_comes_or_goes_in_a_folder_is_seen(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with watched(FileSource([tmp_path])) as found:
            assert (await found.next()).splits == ()
            path = write(tmp_path / "a.yaml", SPLIT)
            assert weight(await found.next()) == "900m"
            path.unlink()
            assert (await found.next()).splits == ()

    asyncio.run(scenario())
