"""nginx: `apt-get install nginx`. Towards backends it speaks HTTP/1.1 only, so it has no other rows."""

import os
from pathlib import Path

from benchmarks.machine import first_line
from benchmarks.peers.peer import Backends, Lab, Running, find_program, start_and_wait
from benchmarks.process import free_port

# keepalive_requests: the default closes each connection after 1,000 requests. proxy_max_temp_file_size 0: an answer
# of 64 KiB would otherwise go through a file. Both spare nginx work that the others do not do either.
_CONFIG = """\
{user}daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 100000000;
    upstream split {{
        server 127.0.0.1:{stable_port} weight=900;
        server 127.0.0.1:{canary_port} weight=100;
        keepalive 64;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://split;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"""


class Nginx:
    """A master and one worker; both are counted."""

    name = "nginx"
    splits = True

    def find(self) -> str | None:
        return find_program("nginx", "BENCH_NGINX")

    def how_to_install(self) -> str:
        return "apt-get install nginx, or set BENCH_NGINX to the binary"

    def version(self, program: str) -> str:
        # "nginx version: nginx/1.22.1", on stderr
        return first_line([program, "-v"]).rpartition("/")[2] or "unknown"

    def start(self, program: str, lab: Lab) -> Running:
        port = free_port()
        path = lab.folder / "nginx.conf"
        path.write_text(config(port, lab.h1, lab.folder))
        command = [program, "-c", str(path), "-p", str(lab.folder), "-e", "stderr"]
        return start_and_wait(command, lab, self.name, {"h1": port})


def config(port: int, backends: Backends, folder: Path) -> str:
    """The configuration file; as root the worker stays root, or it could not enter the folder."""
    user = "user root;\n" if os.geteuid() == 0 else ""
    return _CONFIG.format(
        port=port, stable_port=backends.stable_port, canary_port=backends.canary_port, folder=folder, user=user
    )
