# Every target makes or renews .venv by itself. `make` alone lists the targets.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
STAMP := $(VENV)/.complete
PACKAGES := mlx_cosyvoice mlx_parity reference converters parity tests examples

# What pip says of every small package is left out; big downloads, builds that fail and errors are shown.
PIP_NOISE := ^(Collecting|Processing|Requirement already|Looking in|Obtaining|Ignoring|Building wheels|Success|WARNING: Location)
PIP_NOISE := $(PIP_NOISE)|^ +(Using cached|Preparing|Installing build|Checking if build|Getting requirements|Building editable)
PIP_NOISE := $(PIP_NOISE)|^ +(Created wheel|Stored in|Attempting|Found existing|Uninstalling|Successfully|Downloading .* kB)

.DEFAULT_GOAL := help
.PHONY: help setup demo convert parity bench train-nano eval-nano test test-slow test-soak fuzz lint format clean distclean rebuild

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo "Variables: PYTHON=python3.12 (makes .venv); ARGS=\"...\" is added to the command that the target runs."

setup: $(STAMP) ## make .venv with everything, in the versions of constraints.txt
	@echo "$(VENV) is ready: $(VENV)/bin/mlx-cosyvoice info"

# The trained checkpoint of assets/nano, unless another is named; `synthetic` has random weights, and a family.
demo: $(STAMP) ## convert, check and hear a small model: build/demo [AUDIO=file.wav] [CHECKPOINT=synthetic] [FAMILY=cosyvoice3]
	@$(RUN) -m parity demo --out build/demo $(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)") \
		$(if $(AUDIO),--audio "$(AUDIO)") $(if $(FAMILY),--family "$(FAMILY)") $(ARGS)

# The default is the official checkpoint on the Hugging Face hub. `synthetic` makes one without downloading anything.
convert parity: CHECKPOINT_NAME = $(notdir $(patsubst %/,%,$(or $(CHECKPOINT),CosyVoice2-0.5B)))
convert: $(STAMP) ## convert [CHECKPOINT=folder, hub id or synthetic] [OUT=folder] [DTYPE=bfloat16]
	@$(RUN) -m converters "$(or $(CHECKPOINT),FunAudioLLM/CosyVoice2-0.5B)" \
		--out "$(or $(OUT),build/$(CHECKPOINT_NAME)-mlx)" $(if $(DTYPE),--dtype $(DTYPE)) $(ARGS)

parity: $(STAMP) ## compare a model with its checkpoint (default: the demo's) [CHECKPOINT=folder or synthetic] [MODEL=folder]
	@$(RUN) -m parity run --checkpoint "$(or $(patsubst synthetic,build/demo/checkpoint,$(CHECKPOINT)),assets/nano)" \
		--model "$(or $(MODEL),build/demo/model)" $(ARGS)

# Makes the synthetic checkpoint and its conversion in build/ (6 GB) unless others are named.
bench: $(STAMP) ## time MLX beside PyTorch at full size [FAMILY=cosyvoice3] [CHECKPOINT=folder MODEL=folder]
	@mkdir -p build/bench
	@$(RUN) -m parity bench --size full $(if $(FAMILY),--family "$(FAMILY)") \
		$(if $(CHECKPOINT),--checkpoint "$(CHECKPOINT)" --model "$(MODEL)") \
		--json build/bench/bench.json --markdown build/bench/bench.md --plot build/bench $(ARGS)

# Every stage goes on where it was stopped. The voices are Debian's: sudo apt install flite
train-nano: $(STAMP) ## train a model of 8 million parameters that speaks digits, from nothing, in hours [WORK=folder]
	@$(RUN) -m reference.nano all --work "$(or $(WORK),build/nano)" $(ARGS)

eval-nano: $(STAMP) ## what a listener says of the nano model, beside its bounds; hours, but it goes on where it was stopped [CHECKPOINT=folder]
	@$(call install,-e '.[convert$(comma)parity$(comma)dev$(comma)nano]')
	@$(RUN) -m converters "$(or $(CHECKPOINT),assets/nano)" --out build/nano/model --force
	@$(RUN) -m parity.nano --checkpoint "$(or $(CHECKPOINT),assets/nano)" --model build/nano/model $(ARGS)

test: $(STAMP) ## run the tests (a few minutes), one process a core
	@$(RUN) -m pytest -n auto --dist loadfile $(ARGS)

test-slow: $(STAMP) ## run the full-size checks
	@$(RUN) -m pytest -m "slow and not soak" -n auto --dist loadfile $(ARGS)

test-soak: $(STAMP) ## run kills, races, threads and hostile files many times over (an hour)
	@$(RUN) -m pytest -m soak $(ARGS)

# atheris finds more, because it sees which lines a file reaches; it is not there for every Python and system.
fuzz: $(STAMP) ## fuzz every reader of files, ten minutes in all [SECONDS=600]
	@$(RUN) -c 'import atheris' 2>/dev/null || $(RUN) -m pip install --no-input -q --only-binary :all: atheris || true
	@$(RUN) -m tests.fuzz $(if $(SECONDS),--seconds $(SECONDS)) $(ARGS)

lint: $(STAMP) ## check formatting, style and types
	@$(RUN) -m ruff format --check .
	@$(RUN) -m ruff check .
	@$(RUN) -m mypy $(PACKAGES)

format: $(STAMP) ## format, and mend what the linter can mend
	@$(RUN) -m ruff format .
	@$(RUN) -m ruff check --fix .

clean: ## remove build/ and caches
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find $(PACKAGES) -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## remove .venv too
	@rm -rf $(VENV)

# A .venv whose interpreter is gone (upgraded, moved) is as good as none.
ifneq ($(shell test -x $(RUN) && echo usable),usable)
$(STAMP): rebuild
endif

$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null || { \
		echo "$(PYTHON) is not installed. Install Python 3.10 or newer, or name one: make PYTHON=/path/to/python3"; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
		echo "$(PYTHON) is $$("$(PYTHON)" --version 2>&1), but 3.10 or newer is needed." \
			"Name one: make PYTHON=/path/to/python3.12"; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: its venv or ensurepip module is missing." \
			"On Debian and Ubuntu: sudo apt install python3-venv"; exit 1; }
	@rm -f $@
	@$(RUN) -c 'import pip' 2>/dev/null || { \
		echo "==> making $(VENV) with $$("$(PYTHON)" --version)"; "$(PYTHON)" -m venv --clear $(VENV); }
	@echo "==> installing packages into $(VENV) (some minutes the first time)"
	@$(call install,hatchling setuptools)
	@$(call install,--no-build-isolation -e '.[convert$(comma)parity$(comma)dev]')
	@touch $@

# The installation is judged by a file and not by the exit status, which a pipe hides from a plain shell.
comma := ,
define install
{ PYTHONUNBUFFERED=1 $(RUN) -m pip install --no-input --disable-pip-version-check --progress-bar off \
		-c constraints.txt $(1) 2>&1 && touch $(VENV)/.installed; } | grep --line-buffered -vE '$(PIP_NOISE)'; \
	rm $(VENV)/.installed 2>/dev/null || { \
		echo "The installation failed, for the reason above. Run make again to go on."; exit 1; }
endef
