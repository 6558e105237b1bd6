# On a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
WHEELS_PYTHON := 3.12
WHEELS_PLATFORMS := $(foreach libc,manylinux_2_28 manylinux_2_27 manylinux_2_17 manylinux2014,--platform $(libc)_x86_64)
# Without a .venv: the Python that has torch, and the packages of `make wheels` beside it.
GPU_PYTHON = $(if $(wildcard $(BIN)/python),PYTHONPATH=$(CURDIR)/.typing $(BIN)/python,PYTHONPATH=$(CURDIR)/.typing:$(CURDIR)/build/site $(PYTHON))

.PHONY: demo test test-long check docs results gpu wheels renew-trajectories renew-notebooks dist clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,play,docs]'
	touch $@

demo: .venv/installed  ## train MFEC on Ms. Pac-Man for a few minutes, evaluate it, make a video
	$(BIN)/python examples/demo.py

test: .venv/installed  ## laws, closed forms, small runs on the real games
	$(BIN)/pytest -n auto --dist worksteal

test-long: .venv/installed  ## every two parts that fit together, every command in every place
	$(BIN)/pytest -m long -n auto --dist worksteal

check: .venv/installed docs  ## format, lint, types, documents, and their tables against the results
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/reverie verify

docs: .venv/installed  ## the documentation as HTML, in build/docs; a broken link is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

results: .venv/installed  ## repeat every committed result and run the long tests (days on a CPU)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,play,results]'
	$(BIN)/reverie reproduce --all
	$(BIN)/pytest -m results
	$(BIN)/pytest tests -k intervals

gpu: $(if $(wildcard $(BIN)/python),,build/site)  ## on a machine with a GPU, 8 minutes at most; again for the rows still missing
	$(GPU_PYTHON) -m reverie.experiments.cli.main bench --sweep --device cuda --minutes 7.5 --rounds 3 --save

wheels:  ## what `make gpu` needs beside torch, for a machine without a network, in build/wheels
	$(PYTHON) -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; print(*[x for x in project["dependencies"] if not x.startswith("torch")], "pytest", "hypothesis", "beartype", sep="\n")' \
	| $(PYTHON) -m pip download --dest build/wheels --requirement /dev/stdin --constraint constraints.txt \
	--only-binary :all: --python-version $(WHEELS_PYTHON) $(WHEELS_PLATFORMS)

build/site: $(wildcard build/wheels/*.whl)
	$(PYTHON) -m pip install --quiet --no-index --no-deps --upgrade --target $@ build/wheels/*.whl
	touch $@

renew-trajectories: .venv/installed  ## record the trajectories of all presets anew, after an intended change
	$(BIN)/python tests/trajectories.py

renew-notebooks: .venv/installed  ## run the notebooks and store their outputs, after a change of their cells
	$(BIN)/python docs/notebooks/renew.py

dist: .venv/installed  ## the wheel, the source distribution and the release notes, in build/dist
	rm -rf build/dist
	$(BIN)/python -m build --no-isolation --outdir build/dist .
	$(BIN)/twine check --strict build/dist/*
	awk '/^## / {on = index($$0, "## $(VERSION) ") == 1; next} on' CHANGELOG.md > build/dist/release-notes.md

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
