# Every target makes the environment that it needs; `make demo` and `make test` are all that a newcomer has to know.

PYTHON ?= python3
VENV := .venv
PARITY := .venv-parity
FLOOR := .venv-floor
RELEASES := .venv-releases
JS := tests/js
SERVE := .venv-serve
PYTEST_ARGS ?=
BENCH_ARGS ?=
FUZZ_ARGS ?=
THOROUGH ?=

ifeq ($(OS),Windows_NT)
BIN := Scripts
else
BIN := bin
endif

SOURCES := src conversion examples tests benchmarks
OFFLINE := not parity and not hub and not slow and not releases and not js and not page
QUICK := $(OFFLINE) and not thorough

# Compiled tests are kept: to read and rewrite them again costs every worker seconds.
unexport PYTHONDONTWRITEBYTECODE

# What the versions of transformers, huggingface_hub, accelerate, Pillow and of the others that differ between
# constraints.txt and tests/floor/constraints.txt do not change: which errors in our own facts and tables are found, which
# keys belong to which family, what reports, cards and messages say and that their ways out are walked, how files of torch
# are read, what a killed run leaves, and what the fuzzing itself does. `make test` runs these tests. Of other files, the
# mark any_version leaves out tests.
OF_ANY_VERSION := tests/test_amounts.py tests/test_cli.py tests/test_contributing.py tests/test_json_files.py \
	tests/test_kills.py tests/test_messages.py tests/test_packaging.py tests/test_signals.py tests/test_staging.py \
	tests/test_telling.py tests/benchmarks tests/fuzzing tests/model_cards tests/data/test_ways_out.py \
	tests/evaluation/test_ways_out.py tests/inference/test_embedding_processes.py $(addprefix tests/conversion/, \
	test_inspection.py test_mapping.py test_namesakes.py test_ways_out.py test_ways_out_of_repos.py test_words.py \
	detection/test_beside.py detection/test_detect.py detection/test_detection_table.py detection/test_keys.py \
	detection/test_parts.py detection/test_prefixes.py exports/onnx/test_refused.py \
	proof/test_independence.py proof/test_planted_errors.py proof/test_planted_facts.py proof/test_planted_readers.py \
	proof/test_published_facts.py publishing/test_card_figures.py publishing/test_card_proof.py \
	publishing/test_killed_pushes.py publishing/test_rendering.py reading/test_catalogue.py reading/test_distributed.py \
	reading/test_numpy_pickle.py reading/test_torchscript.py reading/test_wrappers.py repos/test_provenance.py \
	repos/test_report.py)

# They compare embeddings, so that their bounds have to hold for every processor's rounding.
ROUNDING := tests/test_modeling_zhclip.py tests/test_modeling_zhclip_resnet.py tests/test_device_map.py \
	tests/conversion/test_pipeline.py tests/conversion/test_upgrade.py tests/conversion/sources \
	tests/conversion/proof tests/conversion/exports tests/conversion/repos/test_doors.py \
	tests/inference/test_fused.py tests/inference/test_embedder.py \
	tests/examples/test_evaluate.py tests/examples/test_shipped_model.py

.PHONY: demo test test-thorough test-floor test-rounding test-js test-page fuzz chromium check style code-hashes cards parity parity-large releases bench hub clean

demo: $(VENV)/.done
	$(VENV)/$(BIN)/zhclip demo demo

# `make test THOROUGH=1` runs the tests of both targets, which share a start and what costs seconds to make.
test: $(VENV)/.done
	$(VENV)/$(BIN)/python -m pytest -n 2 --dist worksteal -m "$(if $(THOROUGH),$(OFFLINE),$(QUICK))" tests $(PYTEST_ARGS)

# The rest of the full products (every family by every planted fact, by every wrapper, by every folder), and what shows
# of another input what `test` shows of some.
test-thorough: $(VENV)/.done
	$(VENV)/$(BIN)/python -m pytest -n 2 --dist worksteal -m "$(OFFLINE) and thorough" tests $(PYTEST_ARGS)

# The oldest versions that pyproject.toml allows, and the tests whose result may depend on them.
test-floor: $(FLOOR)/.done
	$(FLOOR)/$(BIN)/python -m pytest -n 2 --dist worksteal -m "$(QUICK) and not any_version" \
		$(addprefix --ignore=,$(OF_ANY_VERSION)) tests $(PYTEST_ARGS)

# As a processor with SSE alone would round, then as one with AVX2: PyTorch's own kernels, MKL's and oneDNN's.
test-rounding: $(VENV)/.done
	ATEN_CPU_CAPABILITY=default MKL_ENABLE_INSTRUCTIONS=SSE4_2 ONEDNN_MAX_CPU_ISA=SSE41 \
		$(VENV)/$(BIN)/python -m pytest -n 2 --dist worksteal -m "$(OFFLINE)" $(ROUNDING) $(PYTEST_ARGS)
	ATEN_CPU_CAPABILITY=avx2 MKL_ENABLE_INSTRUCTIONS=AVX2 ONEDNN_MAX_CPU_ISA=AVX2 \
		$(VENV)/$(BIN)/python -m pytest -n 2 --dist worksteal -m "$(OFFLINE)" $(ROUNDING) $(PYTEST_ARGS)

# Exports for transformers.js in Node, with the packages that package-lock.json pins. Their install scripts, which would
# fetch more than packages, do not run.
test-js: $(VENV)/.done $(JS)/node_modules/.done
	$(VENV)/$(BIN)/python -m pytest -n 2 --dist worksteal -m js tests/conversion/exports/onnx $(PYTEST_ARGS)

# The page of `zhclip search --serve` in a headless Chromium, and the lines for other databases in README.md, in an
# environment of their own: gradio wants an older Pillow.
test-page: $(SERVE)/.done chromium
	$(SERVE)/$(BIN)/python -m pytest -m page tests/page $(PYTEST_ARGS)

# Changed files of every family and format, in children under limits of memory and time; see tests/fuzzing/README.md.
fuzz: $(VENV)/.done
	$(VENV)/$(BIN)/python -m tests.fuzzing $(FUZZ_ARGS)

# CHROMIUM names a browser that lies elsewhere.
chromium:
	@command -v "$${CHROMIUM:-chromium}" > /dev/null \
		|| { test -z "$$CHROMIUM" && apt-get update -q && apt-get install -y -q --no-install-recommends chromium; } \
		|| { echo "Found no chromium, and apt-get cannot install it. Install the package chromium of your system, or" \
			"name the browser: make test-page CHROMIUM=/path/to/chromium" >&2; exit 1; }

# Types are checked on an installed copy, where conversion/ has its real name.
check: $(VENV)/.done
	$(VENV)/$(BIN)/ruff format --check $(SOURCES)
	$(VENV)/$(BIN)/ruff check $(SOURCES)
	rm -rf build
	$(VENV)/$(BIN)/python -m build --wheel --no-isolation --outdir build/wheel .
	$(VENV)/$(BIN)/python -m pip install --quiet --no-deps --no-index --target build/installed build/wheel/*.whl
	cd build/installed && MYPYPATH=. ../../$(VENV)/$(BIN)/mypy --config-file ../../pyproject.toml \
		--cache-dir ../../.mypy_cache -p hf_zhclip -p zhclip_cli

style: $(VENV)/.done
	$(VENV)/$(BIN)/ruff format $(SOURCES)
	$(VENV)/$(BIN)/ruff check --fix $(SOURCES)

# At a release: the hashes of this version's code, by which `verify` and `push` know it in a repository.
code-hashes: $(VENV)/.done
	$(VENV)/$(BIN)/python -m hf_zhclip.conversion.repos.own_code conversion/repos/released_code.json

# The cards of the catalogue, from its YAML and the template.
cards: $(VENV)/.done
	$(VENV)/$(BIN)/python -m hf_zhclip.conversion.publishing.cards model_cards

# The originals' own packages; one that is missing is a failure, not a skip.
parity: $(PARITY)/.done
	PYTHONPATH=tests/parity/shim $(PARITY)/$(BIN)/python -m pytest -n 2 --dist worksteal -m "parity and not slow and not thorough" \
		tests $(PYTEST_ARGS)

# The other full sizes, of up to several GB each, and the rest of the planted facts.
parity-large: $(PARITY)/.done
	PYTHONPATH=tests/parity/shim $(PARITY)/$(BIN)/python -m pytest -m "parity and (slow or thorough)" tests $(PYTEST_ARGS)

# Repos with code on each release of the list, where hf_zhclip is not installed: transformers, torch, numpy and Pillow.
releases: $(VENV)/.done $(addprefix $(RELEASES)/,$(addsuffix /.done,$(shell cat tests/releases/releases.txt)))
	$(VENV)/$(BIN)/python -m pytest -m releases tests/releases $(PYTEST_ARGS)

# Every script of benchmarks/ in turn -> benchmarks/RESULTS.md: a quarter of an hour on two free cores, 8 GB in build/.
bench: $(PARITY)/.done
	PYTHONPATH=tests/parity/shim $(PARITY)/$(BIN)/python benchmarks/results.py build/benchmarks $(BENCH_ARGS)

# The published weights, downloaded: several GB.
hub: $(VENV)/.done
	$(VENV)/$(BIN)/python -m pytest -m hub tests $(PYTEST_ARGS)

clean:
	rm -rf build demo $(VENV) $(PARITY) $(FLOOR) $(RELEASES) $(SERVE) $(JS)/node_modules

# $(call install,ENVIRONMENT,PINS)
define install
$(PYTHON) -m venv $(1)
$(1)/$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(2) setuptools
$(1)/$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(2) --no-build-isolation -e '.[dev]'
endef

$(VENV)/.done: pyproject.toml constraints.txt
	$(call install,$(VENV),constraints.txt)
	touch $@

$(FLOOR)/.done: pyproject.toml tests/floor/constraints.txt
	$(call install,$(FLOOR),tests/floor/constraints.txt)
	touch $@

$(RELEASES)/pins.txt: constraints.txt
	mkdir -p $(RELEASES)
	grep -E '^(numpy|pillow|torch)==' constraints.txt > $@

$(RELEASES)/%/.done: $(RELEASES)/pins.txt
	$(PYTHON) -m venv $(RELEASES)/$*
	$(RELEASES)/$*/$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(RELEASES)/pins.txt \
		transformers==$* numpy pillow torch
	touch $@

$(PARITY)/.done: pyproject.toml constraints.txt tests/parity/requirements.txt
	$(call install,$(PARITY),constraints.txt)
	$(PARITY)/$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/parity/requirements.txt
	touch $@

$(SERVE)/.done: pyproject.toml constraints.txt tests/page/constraints.txt
	$(PYTHON) -m venv $(SERVE)
	grep -v '^pillow==' constraints.txt > $(SERVE)/pins.txt
	cat tests/page/constraints.txt >> $(SERVE)/pins.txt
	$(SERVE)/$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(SERVE)/pins.txt setuptools
	$(SERVE)/$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(SERVE)/pins.txt \
		--no-build-isolation -e '.[serve]' -r tests/page/requirements.txt
	touch $@

$(JS)/node_modules/.done: $(JS)/package.json $(JS)/package-lock.json
	cd $(JS) && npm ci --ignore-scripts --no-audit --no-fund
	touch $@
