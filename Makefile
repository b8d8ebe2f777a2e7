# The front door; what is longer than a line lives in xtask/.
# Each target may be the first command after a checkout.

.DEFAULT_GOAL := help
XTASK := cargo run --quiet -p xtask --

.PHONY: help demo dist build test test-vm bench lint kernel rootfs setup clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## set up, build, boot a Debian microVM and run commands in it over HTTP
	@$(XTASK) demo

dist: ## everything that is shipped, into target/dist
	@$(XTASK) setup && $(XTASK) dist

build: ## compile the workspace (debug)
	@cargo build --workspace

test: ## every check and test on both rigs; the last line counts them
	@$(XTASK) test

test-vm: ## the scenarios in microVMs only
	@$(XTASK) test --only vm

bench: ## measure, each figure beside its floor
	@$(XTASK) bench

lint: ## formatting, clippy, documentation
	@$(XTASK) test --only lint

kernel: ## build the guest's own kernel (ARCH=aarch64 for that one)
	@$(XTASK) kernel ours $(ARCH)

rootfs: ## the initramfs and the sample OCI images
	@$(XTASK) setup && $(XTASK) initramfs && $(XTASK) images

setup: ## install what all of this needs (Debian, as root)
	@$(XTASK) setup

clean: ## remove target/
	@$(XTASK) clean
