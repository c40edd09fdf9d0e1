# Every recipe works from a fresh clone; `make help` lists them.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
SOURCES := setup.py $(wildcard csrc/*.py csrc/*.cpp csrc/*.h csrc/cpu/* csrc/cuda/*)
BENCHMARKS := $(filter-out benchmarks/measure.py benchmarks/machine.py benchmarks/ablation.py benchmarks/lounge.py,$(sort $(wildcard benchmarks/*.py)))
ASAN_TESTS := $(filter-out %/test_allocator.py %/test_kernels.py %/test_includes.py,$(wildcard tests/ops/test_*.py))
CXX_FILES := $(wildcard csrc/*.cpp csrc/*.h csrc/cpu/*.cpp csrc/cpu/*.h csrc/cuda/*.cu csrc/cuda/*.cuh)

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-gpu bench-gpu gpu-bundle check check-cuda check-asan check-resolver bench clean

help:  ## list these commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 18

setup: $(VENV)/.built  ## make .venv with pinned dependencies and compile the kernels (runs itself when needed)

$(VENV)/.installed: pyproject.toml constraints.txt build_tools/system_libraries.sh
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v <= (3, 13) and \
	  f"geoguide3d needs Python 3.11, 3.12 or 3.13, and {sys.executable} is {v[0]}.{v[1]}: try make setup PYTHON=python3.12")'
	bash build_tools/system_libraries.sh
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	@echo "installing the pinned dependencies (about 7 GB, some minutes)"
	$(RUN) -m pip install --quiet --constraint constraints.txt 'setuptools>=77' wheel ninja torch
	PYTHONWARNINGS=ignore GEOGUIDE3D_SKIP_KERNELS=1 $(RUN) -m pip install --quiet --no-build-isolation --constraint constraints.txt --editable '.[all,dev]'
	touch $@

$(VENV)/.built: $(VENV)/.installed $(SOURCES)
	PYTHONWARNINGS=ignore $(RUN) -m pip install --quiet --no-build-isolation --no-deps --editable .
	touch $@

demo: setup  ## ask held-out rooms questions in words and see the answers (under 5 minutes on 2 cores)
	GEOGUIDE3D_REQUIRE_KERNELS=1 $(RUN) tools/demo.py --output outputs/demo

test: setup  ## run all tests; kernels must be compiled
	GEOGUIDE3D_REQUIRE_KERNELS=1 $(RUN) -m pytest --timeout 600

test-gpu:  ## on a machine with a GPU: build in place with PYTHON, install nothing, run the GPU tests
	GEOGUIDE3D_CUDA=1 $(PYTHON) setup.py --quiet build_ext --inplace
	GEOGUIDE3D_REQUIRE_KERNELS=1 PYTHONPATH=.:gpu_bundle/site $(PYTHON) -m pytest -m gpu tests/ops tests/fusion tests/backbones/ptv3 tests/backbones/sparse_unet tests/distillation

bench-gpu:  ## on a machine with a GPU, after test-gpu: run every benchmark with PYTHON, install nothing
	for file in $(BENCHMARKS); do GEOGUIDE3D_REQUIRE_KERNELS=1 PYTHONPATH=.:gpu_bundle/site $(PYTHON) $$file --json || exit 1; done

gpu-bundle: setup  ## pack what a GPU machine without network needs into gpu_bundle/ (at most 40 MiB)
	$(RUN) tools/gpu_bundle.py --output gpu_bundle

check: setup check-resolver  ## formatting, lint, types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/clang-format --dry-run --Werror $(CXX_FILES)

check-cuda: setup  ## compile every CUDA kernel (no GPU needed)
	$(RUN) csrc/check_cuda.py

check-asan: setup  ## run the op tests on kernels built with AddressSanitizer and UBSan
	rm -rf build/asan/lib  # so that no module of an earlier build stays
	GEOGUIDE3D_CUDA=0 GEOGUIDE3D_SANITIZE=address,undefined $(RUN) setup.py --quiet build --build-base build/asan --build-lib build/asan/lib
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 \
	  GEOGUIDE3D_REQUIRE_KERNELS=1 $(RUN) -m pytest --capture=sys --override-ini pythonpath=build/asan/lib $(ASAN_TESTS)

check-resolver: setup  ## the pinned versions exist for the other Pythons too
	$(RUN) build_tools/check_resolver.py

bench: setup  ## run every benchmark but ablation and lounge, which train, and print its table
	for file in $(BENCHMARKS); do GEOGUIDE3D_REQUIRE_KERNELS=1 $(RUN) $$file || exit 1; done

clean:  ## remove the environment, what was compiled and what was written
	rm -rf $(VENV) build outputs gpu_bundle *.egg-info geoguide3d/*.so
