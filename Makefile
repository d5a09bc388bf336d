# `make` alone says what there is.

TARGET := $(or $(CARGO_TARGET_DIR),target)
VENV   := .venv
# For the papers: full, laptop or smoke.
SCALE  ?= full

# rustup may have been installed a moment ago, in this very shell.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.NOTPARALLEL:
.PHONY: help setup build demo paper paper-appendix test lint bench cuda test-cuda bench-cuda

help:  ## says this
	@echo "optogen: how in-context learning forms and fades while small transformers train"
	@echo
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1\t\2/p' Makefile | expand -t 24
	@echo
	@echo "Then: $(TARGET)/release/optogen --help"

setup:  ## installs what is missing to build: a C compiler, pkg-config, HDF5 (Debian and its kin; elsewhere it says what to install)
	@scripts/setup.sh

build: setup  ## builds the program optogen, in target/release
	cargo build --release

demo: build  ## trains a transformer until an induction head forms, and shows the losses; goes on where it was stopped
	$(TARGET)/release/optogen run experiments/induction/base.toml --out runs/demo --resume

paper: build  ## everything behind the main text of "What needs to go right for an induction head?", figures included, in runs/paper; goes on where it was stopped
	scripts/paper.sh main $(SCALE)

paper-appendix: paper  ## the same for its appendix
	scripts/paper.sh appendix $(SCALE)

test: setup-tests lint $(VENV)/installed  ## runs every test, and lint; makes .venv for the tests that read logs with Python
	OPTOGEN_PYTHON=$(CURDIR)/$(VENV)/bin/python cargo test --release --workspace

lint:  ## formatting and clippy, warnings are errors
	cargo fmt --check
	cargo clippy --release --workspace --all-targets -- -D warnings

bench: build $(VENV)-bench/installed  ## times a step of training beside JAX doing the same, clamps, and a whole run, and writes BENCHMARKS.md; makes .venv-bench
	$(VENV)-bench/bin/python benches/compare.py $(TARGET)/release/optogen

cuda: setup  ## builds the program for NVIDIA GPUs, in target/cuda/release; needs none here. The toolkit comes from PyPI where it is missing
	@scripts/setup_cuda.sh
	. .cuda/env && cargo build --release --features cuda --target-dir $(TARGET)/cuda

test-cuda: cuda  ## runs the tests of kernels and cohorts with the program for GPUs: on the GPU where there is one, else on the CPU
	. .cuda/env && cargo test --release --features cuda --target-dir $(TARGET)/cuda -p optogen --lib ops::cuda
	. .cuda/env && cargo test --release --features cuda --target-dir $(TARGET)/cuda -p optogen-experiments --test devices

# Its own bench build shares all but our crates with `make cuda`; the peer runs where there is a GPU, as the benchmark does.
bench-cuda: cuda $(VENV)-bench-cuda/installed  ## times cohorts of models on a GPU beside a JAX population; makes .venv-bench-cuda
	. .cuda/env && cargo bench -p optogen-tests --features cuda --target-dir $(TARGET)/cuda --bench cohorts
	for models in 1 64 256; do JAX_PLATFORMS=cuda $(VENV)-bench-cuda/bin/python benches/peers/jax_peer.py ih_base population $$models 500 3; done

.PHONY: setup-tests
setup-tests:
	@scripts/setup.sh --tests

$(VENV)-bench/installed: benches/peers/requirements.txt
	rm -rf $(VENV)-bench
	python3 -m venv $(VENV)-bench
	$(VENV)-bench/bin/pip install --quiet --disable-pip-version-check --requirement $< pyarrow matplotlib
	touch $@

$(VENV)-bench-cuda/installed: benches/peers/requirements-cuda.txt
	rm -rf $(VENV)-bench-cuda
	python3 -m venv $(VENV)-bench-cuda
	$(VENV)-bench-cuda/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

$(VENV)/installed: tests/python/requirements.txt
	rm -rf $(VENV)
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@
