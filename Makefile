# Each target installs what it needs into .venv first, once.

PYTHON ?= python3
EXPERIMENT ?= phrasebook
RUN ?= runs/$(EXPERIMENT)
MODELS ?= $(EXPERIMENT)=$(RUN)
ARGS ?=
EXTRAS ?= dev
# cuda where an NVIDIA GPU answers, else cpu; on a TPU machine say ACCELERATOR=tpu.
ACCELERATOR ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
# Python 3.11 gets a JAX that trains far too slowly on NVIDIA's GPUs (aiayn/training/mesh.py).
MINOR := $(if $(filter cuda,$(ACCELERATOR)),12,11)

ifneq ($(filter-out cpu cuda tpu,$(ACCELERATOR)),)
  $(error ACCELERATOR is $(ACCELERATOR); wanted cpu, cuda or tpu)
endif

VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core-$(ACCELERATOR)
DEV := $(VENV)/.dev
SERVE := $(VENV)/.serve-$(ACCELERATOR)
# What was installed goes with the Python that it was installed for.
$(shell [ -x $(BIN)/python ] || rm -f $(VENV)/.core-* $(VENV)/.serve-* $(VENV)/.dev $(VENV)/.docs)
PARITY := .venv-parity
FAIRSEQ := .venv-fairseq
LIBRETRANSLATE := .venv-libretranslate
# Whom `make bench` lets take turns with ours, and where that is installed.
BENCH := $(or $(ARGS),train --peer hf)
PEER := $(patsubst --peer=%,%,$(filter --peer=%,$(subst --peer$() ,--peer=,$(BENCH))))
PEERS := $(if $(filter fairseq,$(PEER)),$(FAIRSEQ),$(if $(PEER)$(filter nano serving,$(BENCH)),$(PARITY))) \
  $(if $(filter libretranslate,$(PEER)),$(LIBRETRANSLATE))
# Many images set this. But pip compiles nothing here, since most is never imported, and a start that
# finds no byte code takes seconds longer.
unexport PYTHONDONTWRITEBYTECODE
# -qq leaves errors only.
PIP_INSTALL := -m pip install -qq --no-compile --disable-pip-version-check --constraint constraints.txt
INSTALL := $(BIN)/python $(PIP_INSTALL)

.DEFAULT_GOAL := help
.NOTPARALLEL: # all targets share one .venv
.PHONY: help try train serve test test-all faults check smoke reproduce ablate bench \
  bench-accelerator peers parity record results docs clean

help: ## what there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r target text; do \
	  printf '  make %-17s %s\n' "$$target" "$$text"; done

try: $(CORE) ## translate what you type into German, by a model that comes along
	@$(BIN)/aiayn translate tatoeba_ende $(ARGS)

train: $(CORE) ## train, translate and score EXPERIMENT=phrasebook; ARGS='--set train.seed=2 ...'
	$(BIN)/aiayn train "$(EXPERIMENT)" $(ARGS)

serve: $(SERVE) ## serve MODELS='phrasebook=runs/phrasebook' over HTTP; ARGS='--port 8000'
	$(BIN)/aiayn serve $(MODELS) $(ARGS)

test: $(DEV) ## the tests but the slow ones; ARGS='-k bleu' or '-m slow' for some of them
	$(BIN)/python -m pytest $(ARGS)

test-all: $(DEV) ## all tests, those marked slow included
	$(BIN)/python -m pytest -m '' $(ARGS)

faults: $(DEV) ## kill training 250 times, hostile inputs, memory: hours; nothing may be lost
	$(BIN)/python -m tests.faults.kill --kills 200
	$(BIN)/python -m tests.faults.kill --kills 50 --text
	$(BIN)/python -m tests.faults.fuzz --inputs 100000
	$(BIN)/python -m tests.faults.resources
	$(BIN)/python -m tests.faults.serving
	$(BIN)/python -m tests.faults.lines

docs: $(VENV)/.docs ## the site, in build/docs; its notebook trains for some minutes
	$(BIN)/python -m sphinx -q -W --keep-going -b html -c docs $(ARGS) . build/docs
	@echo "build/docs/docs/index.html"

check: $(DEV) ## lint, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

smoke: $(CORE) ## a tiny run from text to BLEU
	rm -rf runs/smoke
	$(BIN)/aiayn train "$(EXPERIMENT)" --run-dir runs/smoke --set train.num_steps=20 \
	  --set data.limit=2000 $(ARGS)

reproduce: $(CORE) ## check every claim of the paper; a page in runs/report
	$(BIN)/aiayn report $(ARGS)

ablate: $(CORE) ## Table 3 in miniature: every row at a small size; hours; a picture in runs
	$(BIN)/aiayn ablate table3_miniature $(ARGS)

bench: $(CORE) $(addsuffix /.done,$(PEERS)) $(if $(filter serve,$(BENCH)),$(SERVE)) ## updates in turns with Hugging Face's; ARGS='decode --peer ctranslate2'
	$(if $(filter nano serving,$(firstword $(BENCH))),$(PARITY)/bin,$(BIN))/aiayn bench $(BENCH)

peers: $(CORE) $(PARITY)/.done $(FAIRSEQ)/.done ## Hugging Face's Trainer and fairseq on the text and the recipe of RUN=runs/...; hours
	for peer in hf fairseq; do \
	  $(BIN)/aiayn bench toolkits --peer $$peer --model "$(RUN)" --out runs/peers $(ARGS) || exit 1; \
	done

bench-accelerator: $(CORE) ## for GPU and TPU: base, big, each choice in the step, decoding
	status=0; \
	for work in 'train --workload base' 'choices --workload base' 'decode --workload base32' \
	  'decode --workload base128' 'decode --workload base1024' 'train --workload big'; do \
	  $(BIN)/aiayn bench $$work $(ARGS) || status=1; \
	done; exit $$status

parity: $(PARITY)/.done ## the same as PyTorch, Hugging Face, CTranslate2, EVALB; own environment
	$(PARITY)/bin/python -m pytest tests/parity $(ARGS)

record: $(CORE) ## keep the record and the outputs of a finished RUN=runs/phrasebook for make results
	$(BIN)/python -m aiayn.evidence.outputs "$(RUN)" $(ARGS)

results: $(CORE) ## render the tables of results, score kept outputs again; ARGS='--references DIR'
	$(BIN)/python -m aiayn.evidence.tables $(ARGS)

clean: ## remove .venv and the caches here; runs and data stay
	rm -rf $(VENV) $(PARITY) $(FAIRSEQ) $(LIBRETRANSLATE) .venv-tpu .venv-cuda .jax_cache .hypothesis .pytest_cache .ruff_cache build dist *.egg-info
	find aiayn tests experiments -name __pycache__ -prune -exec rm -rf {} +

# Nothing where a Python is new enough for the accelerator, else what is wanted and found.
check_python = "$(1)" -c 'import sys; sys.exit(sys.version_info < (3, $(MINOR)))' || { \
  echo "Python 3.$(MINOR) or newer is wanted; $(1) is $$("$(1)" --version 2>&1)." $(2) >&2; exit 1; }

$(BIN)/python:
	@$(call check_python,$(PYTHON),"Name another: make PYTHON=/path/to/python3.12")
	@"$(PYTHON)" -m venv --clear $(VENV) || { rm -rf $(VENV); \
	  echo "$(PYTHON) -m venv failed; on Debian and Ubuntu it is in the package python3-venv." >&2; \
	  exit 1; }

$(PARITY)/.done: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing PyTorch and other toolkits into $(PARITY): some minutes, once."
	@"$(PYTHON)" -m venv --clear $(PARITY)
	@$(PARITY)/bin/python $(PIP_INSTALL) -e '.[dev,parity]'
	@touch $@

# fairseq is no longer kept up: it needs pip and NumPy of its time, so no newer Python than 3.11, and
# a C++ compiler.
$(FAIRSEQ)/.done: | $(BIN)/python
	@echo "Installing fairseq into $(FAIRSEQ): some minutes, once."
	@"$(PYTHON)" -m venv --clear $(FAIRSEQ)
	@$(FAIRSEQ)/bin/python -m pip install -qq --disable-pip-version-check 'pip<24.1'
	@$(FAIRSEQ)/bin/python -m pip install -qq --no-compile --disable-pip-version-check \
	  fairseq==0.12.2 'numpy<1.24' torch==2.13.0
	@touch $@

.venv-tpu/.done .venv-cuda/.done: .venv-%/.done: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing a compiler for $* into .venv-$*: a minute, once."
	@"$(PYTHON)" -m venv --clear .venv-$*
	@.venv-$*/bin/python $(PIP_INSTALL) -e '.[$*]'
	@touch $@

# Its models that cut sentences are downloaded at run time; spaCy cuts them by a rule.
$(LIBRETRANSLATE)/.done: | $(BIN)/python
	@echo "Installing LibreTranslate into $(LIBRETRANSLATE): some minutes, once."
	@"$(PYTHON)" -m venv --clear $(LIBRETRANSLATE)
	@$(LIBRETRANSLATE)/bin/python -m pip install -qq --disable-pip-version-check \
	  libretranslate==1.9.6 spacy
	@touch $@

$(CORE): pyproject.toml constraints.txt | $(BIN)/python
	@$(call check_python,$(BIN)/python,"Begin anew: make clean")
	@echo "Installing aiayn for $(ACCELERATOR) into $(VENV): some minutes, once."
	@$(INSTALL) -e '.$(if $(filter-out cpu,$(ACCELERATOR)),[$(ACCELERATOR)])'
	@touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing what the site needs into $(VENV): a minute, once."
	@$(INSTALL) -e '.[docs]'
	@touch $@

$(SERVE): pyproject.toml constraints.txt | $(CORE)
	@$(INSTALL) -e '.[serve]'
	@touch $@

$(DEV): pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing aiayn and the tools of its developers into $(VENV): some minutes, once."
	@$(INSTALL) -e '.[$(EXTRAS)]'
	@touch $@
