# Everything that is done to this project. `make test` and `make demo` need Debian, root, and Rust; what else is missing
# they install after saying so.

SHELL := /bin/bash
LAB := tests/lab/lab
# The lab that `make lab-up` starts, and the caches that outlive a clone.
export FLEETOTP_LAB_DIR ?= $(or $(XDG_RUNTIME_DIR),/run)/fleetotp-lab
export FLEETOTP_CACHE ?= /var/cache/fleetotp-lab
N ?= 3

.PHONY: help test check lab-matrix demo bench browser lab-up lab-down lab-shell clean

help:
	@echo 'make test       everything that must hold: format, lints, tests on lab hosts, docs, licences'
	@echo 'make check      the part of it that needs neither root nor hosts'
	@echo 'make lab-matrix  of those on lab hosts, whole life cycles with real logins on Debian 11, 12 and 13'
	@echo 'make demo       a lab of three hosts, a rollout, a login with a code'
	@echo 'make bench      the floor and the run side by side, on 40 hosts; commands on 10 000 tokens, reports of a million rows'
	@echo 'make browser    a sample report in headless Chromium and LibreOffice, and pictures of it (not part of make test);'
	@echo '                PACK=DIR also takes a real pack, such as that of FLEETOTP_MONTH_PACK=DIR cargo nextest run lab_month'
	@echo 'make lab-up     N=3 real hosts in the background; make lab-shell, make lab-down'
	@echo 'make clean      remove what was built here (the lab roots stay: $(FLEETOTP_CACHE))'

test:
	tests/run all

check:
	tests/run quick

lab-matrix:
	tests/run matrix

demo:
	examples/demo.sh

bench:
	tests/bench/bench.sh
	tests/bench/scale.sh

browser:
	FLEETOTP_REPORT_SAMPLES=$(CURDIR)/target/report-samples cargo test --locked --test it -- report::samples_for_a_look
	tests/browser/run target/report-samples/sample.html target/report-samples/pictures
	tests/browser/spreadsheet target/report-samples/sample.csv
	$(if $(PACK),tests/browser/pack $(PACK) target/report-samples/pack)

lab-up:
	@$(LAB) up --count $(N) --background
	@echo 'log in:     $(LAB) --dir $(FLEETOTP_LAB_DIR) exec -- ssh -F $(FLEETOTP_LAB_DIR)/ssh_config root@web1'
	@echo 'a shell:    make lab-shell     (there, `ssh web1` knows the hosts and their keys)'
	@echo 'end it:     make lab-down'

lab-down:
	@$(LAB) down

lab-shell:
	@$(LAB) exec -- $${SHELL:-bash}

clean:
	cargo clean
	rm -rf fleetotp-demo
