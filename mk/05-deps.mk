# SPDX-License-Identifier: BSD-3-Clause
# The Debian packages that everything else needs: mk/packages.

.PHONY: deps
deps: ## install the Debian packages that are missing (mk/packages)
	@sh mk/deps.sh
