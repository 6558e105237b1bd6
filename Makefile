# Two commands on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check evidence gpu renew-trajectories clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,play]'
	touch $@

demo: .venv/installed  ## train on Ms. Pac-Man for a few minutes, evaluate, show what was learned
	$(BIN)/python examples/demo.py

test: .venv/installed  ## laws, closed forms, small runs on the real games
	$(BIN)/pytest -n auto

check: .venv/installed  ## format, lint, types, and README tables against the committed results
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/reverie verify

evidence: .venv/installed  ## the long measurements and the learning runs behind the README
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev,play,evidence]'
	$(BIN)/reverie reproduce --all
	$(BIN)/pytest -m evidence
	$(BIN)/pytest tests/test_statistics.py

gpu: .venv/installed  ## on a machine with a GPU: that all is as on a CPU, and the benchmark's rows
	$(BIN)/pytest tests/test_cuda.py
	$(BIN)/reverie bench --device cuda --save

renew-trajectories: .venv/installed  ## record what every preset does anew, where that was meant to change
	$(BIN)/python tests/trajectories.py

clean:
	rm -rf .venv build *.egg-info .mypy_cache .pytest_cache .ruff_cache
