.PHONY: setup run test slow browser check fix eval experiments

PYTHON ?= .venv/bin/python

setup:    ## .venv with everything for development
	python3 -m venv .venv
	$(PYTHON) -m pip install -r requirements-dev.txt

run:      ## the page at http://127.0.0.1:7860
	$(PYTHON) app.py

test:     ## the fast tests
	$(PYTHON) -m pytest

slow:     ## end to end, with the house model
	$(PYTHON) -m pytest -m slow

browser:  ## the page in chromium
	$(PYTHON) -m pytest -m browser

check:    ## formatting and lint
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .

fix:      ## what can be repaired by itself
	$(PYTHON) -m ruff format .
	$(PYTHON) -m ruff check --fix .

eval:     ## the tables of docs/evaluation.md
	$(PYTHON) -m evals conversations results/bank --question-bank
	$(PYTHON) -m evals conversations results/no-bank --no-question-bank
	$(PYTHON) -m evals conversations results/lasting --folder tests/conversations/lasting
	$(PYTHON) -m evals speed

experiments:  ## the paper's experiments, every arm: hours
	for name in single batch sequential recommend personal cost; do $(PYTHON) -m evals $$name || exit 1; done
	$(PYTHON) -m evals single --arm ablations
	$(PYTHON) -m evals sequential --sequences 1 --seeds 1 --arm ablations
	$(PYTHON) -m evals report
