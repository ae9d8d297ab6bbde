# Everything is made in .venv; nothing needs root or a compiler.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install run test long lint types check bench fuzz chaos soak netns image image-test proto clean

install: $(VENV)/.installed

run: install
	$(BIN)/milliroute demo

# Side by side, one a core: half of the time is waiting for processes to start.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal
test: $(VENV)/.dev lint types
	$(PYTEST)

# Every case, where `make test` tries a part (tests/sizes.py).
long: $(VENV)/.dev
	MILLIROUTE_LONG=1 $(PYTEST)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy sees proxy/ and control/ as milliroute.proxy and milliroute.control through two links.
types: $(VENV)/.dev .typing/milliroute
	$(BIN)/mypy -p milliroute.proxy -p milliroute.control -p tests -p benchmarks

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

# TARGET: one of tests/fuzz/catalog.py, or all; SECONDS of each.
TARGET ?= all
SECONDS ?= 600
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz $(TARGET) $(SECONDS)

# docs/chaos.md. NAMES: the beginnings of scenarios' names; none is all of them.
NAMES ?=
SEED ?= 1
chaos: $(VENV)/.dev
	$(BIN)/python -m tests.chaos $(NAMES) --seed $(SEED)

MINUTES ?= 30
soak: $(VENV)/.dev
	$(BIN)/python -m tests.chaos.soak $(MINUTES)

# Root, debootstrap; no container engine. docs/kubernetes.md
IMAGE ?= build/image
image:
	deploy/image/build $(IMAGE)

image-test: $(VENV)/.dev image
	MILLIROUTE_IMAGE_FOLDER=$(abspath $(IMAGE)) $(BIN)/python -m pytest tests/image

# docs/sidecar.md. As root, with iproute2, iptables, util-linux and curl: pods are network namespaces.
netns: $(VENV)/.dev
	NETNS_TESTS=1 $(BIN)/python -m pytest tests/netns -rs

# Made with the oldest version that works (grpcio-tools 1.51.1), so that users are not pinned to a new protobuf.
proto: .typing/milliroute
	$(PYTHON) -m venv build/proto && build/proto/bin/pip -q install 'grpcio-tools==1.51.1' 'setuptools<70'
	cd .typing && ../build/proto/bin/python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. milliroute/control/api/destination.proto

.typing/milliroute:
	mkdir -p $@
	ln -sfn ../../proxy $@/proxy
	ln -sfn ../../control $@/control

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "milliroute needs Python 3.11 or newer, this is %d.%d: set PYTHON=..." % sys.version_info[:2])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) .typing build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
