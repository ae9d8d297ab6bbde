"""curl, h2load and nghttpd through real processes, over HTTP/2 and between the versions of HTTP."""

import re
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

from tests.e2e.h2_stand import H2C, needs, nghttpd, output, requests_by_leaf, run, run_speaking
from tests.e2e.stand import PATIENCE_S, eventually, stand
from tests.sizes import CODEC

pytestmark = [CODEC, needs("curl", "h2load", "nghttp", "nghttpd")]
MIB = 1024 * 1024
SAID = "%{http_code} %{http_version}"


def _page(folder: Path, size: int = 2) -> bytes:
    """What nghttpd serves as /page: not the same byte twice in a row, so that a shift would show."""
    content = (bytes(range(256)) * (size // 256 + 1))[:size]
    (folder / "page").write_bytes(content)
    return content


def _upload(folder: Path, size: int = MIB) -> Path:
    path = folder / "upload"
    path.write_bytes(bytes(range(255)) * (size // 255))
    return path


def test_curl_gets_and_posts_over_http2_to_an_http2_backend(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        page, upload = _page(tmp_path, 3 * MIB), _upload(tmp_path)
        port = nghttpd(here, tmp_path, "--echo-upload")
        url = f"http://127.0.0.1:{run(here, [port, port], codec).port('proxy')}/page"
        curl = ("curl", "-s", "--http2-prior-knowledge", "-w", SAID, "-o", str(tmp_path / "answer"))
        assert output(*curl, url) == "200 2"
        assert (tmp_path / "answer").read_bytes() == page
        assert output(*curl, url, "--data-binary", f"@{upload}") == "200 2"
        assert (tmp_path / "answer").read_bytes() == upload.read_bytes()


def test_curl_over_http2_posts_a_mebibyte_to_an_http1_backend(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        upload = _upload(tmp_path)
        proxy = run_speaking(here, here.backends("v1", "v2"), codec, "http", "1", "0")
        url = f"http://127.0.0.1:{proxy.port('proxy')}/item"
        curl = ("curl", "-s", "--http2-prior-knowledge", "-w", SAID, "-o", str(tmp_path / "answer"))
        assert output(*curl, url) == "200 2"
        assert output(*curl, url, "--data-binary", f"@{upload}") == "200 2"
        # It answers once it has as much as content-length says.
        assert (tmp_path / "answer").read_text() == "v1"


def test_curl_over_http1_gets_and_posts_to_a_backend_that_knows_only_http2(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        page, upload = _page(tmp_path, 3 * MIB), _upload(tmp_path)
        port = nghttpd(here, tmp_path, "--echo-upload")
        proxy = run_speaking(here, [port, port], codec, H2C)
        url = f"http://127.0.0.1:{proxy.port('proxy')}/page"
        curl = ("curl", "-s", "--http1.1", "-w", SAID, "-o", str(tmp_path / "answer"))
        assert output(*curl, url) == "200 1.1"
        assert (tmp_path / "answer").read_bytes() == page
        for framing in (f"content-length: {upload.stat().st_size}", "transfer-encoding: chunked"):
            assert output(*curl, url, "-H", framing, "--data-binary", f"@{upload}") == "200 1.1"
            assert (tmp_path / "answer").read_bytes() == upload.read_bytes()


def test_trailers_of_nghttpd_reach_nghttp_and_an_http1_client_the_whole_page(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        page = _page(tmp_path, 1000)
        port = nghttpd(here, tmp_path, "--trailer", "x-sum: 7")
        proxy = run_speaking(here, [port, port], codec, H2C)
        said = output("nghttp", "-nv", f"http://127.0.0.1:{proxy.port('proxy')}/page")
        assert re.search(r"recv \(stream_id=\d+\) x-sum: 7\n", said), said
        # nghttpd says content-length too, and RFC 9112 has no room for trailers behind a length.
        with closing(HTTPConnection("127.0.0.1", proxy.port("proxy"), timeout=PATIENCE_S)) as client:
            client.request("GET", "/page", headers={"te": "trailers", "connection": "te"})
            assert client.getresponse().read() == page


def test_curl_head_and_a_missing_page_between_the_versions(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        _page(tmp_path, 1000)
        port = nghttpd(here, tmp_path)
        proxy = run_speaking(here, [port, port], codec, H2C)
        with closing(HTTPConnection("127.0.0.1", proxy.port("proxy"), timeout=PATIENCE_S)) as client:
            client.request("HEAD", "/page")
            answer = client.getresponse()
            assert (answer.status, answer.getheader("content-length"), answer.read()) == (200, "1000", b"")
            client.request("GET", "/nowhere")
            assert client.getresponse().status == 404


def _h2load(*arguments: str) -> str:
    said = output("h2load", *arguments)
    assert ", 0 failed, 0 errored, 0 timeout" in said, said
    return said


def test_h2load_over_one_connection_is_split_exactly(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        _page(tmp_path)
        proxy = run(here, [nghttpd(here, tmp_path), nghttpd(here, tmp_path)], codec)
        said = _h2load("-n", "1000", "-c", "1", "-m", "32", f"http://127.0.0.1:{proxy.port('proxy')}/page")
        assert "1000 succeeded" in said
        assert "1000 2xx" in said
        admin = proxy.port("admin")
        eventually(lambda: sum(requests_by_leaf(admin).values()) >= 1000, "the counts in /metrics")
        assert requests_by_leaf(admin) == {"reviews-v1": 900, "reviews-v2": 100}


def test_h2load_with_many_streams_on_many_connections_fails_nothing(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        _page(tmp_path, 10_000)
        proxy = run(here, [nghttpd(here, tmp_path), nghttpd(here, tmp_path)], codec)
        url = f"http://127.0.0.1:{proxy.port('proxy')}/page"
        for streams in ("1", "16", "100"):
            assert "2000 2xx" in _h2load("-n", "2000", "-c", "4", "-m", streams, url)


def test_h2load_uploads_arrive_whole(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        upload = _upload(tmp_path, 200_000)
        proxy = run(here, [nghttpd(here, tmp_path, "--echo-upload")] * 2, codec)
        url = f"http://127.0.0.1:{proxy.port('proxy')}/page"
        said = _h2load("-n", "300", "-c", "4", "-m", "8", "-d", str(upload), url)
        assert "300 2xx" in said
        # h2load counts the bytes of DATA it got back: all that it sent.
        assert f"({300 * upload.stat().st_size}) data" in said, said


def test_padded_frames_and_small_windows_of_strangers_pass(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        _page(tmp_path, 100_000)
        port = nghttpd(here, tmp_path, "--padding=200", "--window-bits=12", "--max-concurrent-streams=3")
        proxy = run(here, [port, port], codec)
        url = f"http://127.0.0.1:{proxy.port('proxy')}/page"
        assert "200 2xx" in _h2load("-n", "200", "-c", "2", "-m", "20", "-w", "12", "-W", "14", url)
        upload = _upload(tmp_path, 50_000)
        assert "100 2xx" in _h2load("-n", "100", "-c", "2", "-m", "20", "-d", str(upload), url)


def test_http1_clients_under_load_reach_a_backend_that_knows_only_http2(tmp_path: Path, codec: str) -> None:
    with stand(tmp_path) as here:
        _page(tmp_path)
        ports = [nghttpd(here, tmp_path), nghttpd(here, tmp_path)]
        proxy = run_speaking(here, ports, codec, H2C)
        said = _h2load("--h1", "-n", "1000", "-c", "8", f"http://127.0.0.1:{proxy.port('proxy')}/page")
        assert "1000 2xx" in said
        admin = proxy.port("admin")
        eventually(lambda: sum(requests_by_leaf(admin).values()) >= 1000, "the counts in /metrics")
        assert requests_by_leaf(admin) == {"reviews-v1": 900, "reviews-v2": 100}
