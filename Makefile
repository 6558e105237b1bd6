# On a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test test-long check docs results gpu renew-trajectories clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,play,docs]'
	touch $@

demo: .venv/installed  ## train MFEC on Ms. Pac-Man for a few minutes, evaluate it, make a video
	$(BIN)/python examples/demo.py

test: .venv/installed  ## laws, closed forms, small runs on the real games
	$(BIN)/pytest -n auto

test-long: .venv/installed  ## every two parts that fit together, trained for a few updates
	$(BIN)/pytest -m long -n auto

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

gpu: .venv/installed  ## on a machine with a GPU: equality with the CPU, and the benchmark's rows
	$(BIN)/pytest tests/test_device.py
	$(BIN)/reverie bench --device cuda --save

renew-trajectories: .venv/installed  ## record the trajectories of all presets anew, after an intended change
	$(BIN)/python tests/trajectories.py

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
