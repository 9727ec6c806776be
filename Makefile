# make demo and make test need only Python >= 3.10, a C++ compiler and make; both set up .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
BACKENDS ?= reference,native
# of pytest: as many as the machine runs threads, four at most; PROCESSES=0 runs all tests in one
PROCESSES ?= logical --maxprocesses 4 --dist worksteal

.PHONY: setup demo test lint format bench clean

setup: $(VENV)/.done

# torch first: the build uses the torch that is installed and fetches no other
$(VENV)/.done: pyproject.toml setup.py requirements.txt requirements-no-deps.txt $(wildcard csrc/*.* csrc/cpu/* csrc/cuda/*)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -r requirements.txt
	$(BIN)/python -m pip install --quiet --no-deps -r requirements-no-deps.txt
	$(BIN)/python -m pip install --quiet --no-build-isolation --no-deps -e .
	touch $@

demo: setup
	$(BIN)/python examples/demo/demo.py

test: setup
	OMP_NUM_THREADS=1 FMCOMPRESS_EXPECT_BACKENDS=$(BACKENDS) $(BIN)/python -m pytest -n $(PROCESSES)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check fmcompress triton_kernels tests bench examples setup.py
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $$(git ls-files 'csrc/*')

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format fmcompress triton_kernels tests bench examples setup.py
	$(BIN)/clang-format -i $$(git ls-files 'csrc/*')

bench: setup
	$(BIN)/python -m pytest bench -q --benchmark-json=bench-results.json
	$(BIN)/python bench/solve.py
	$(BIN)/python bench/packing.py
	$(BIN)/python bench/cocktail.py
	$(BIN)/python bench/decode.py

clean:
	rm -rf build $(VENV) demo-output *.egg-info
