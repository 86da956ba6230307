"""Where rows, apps and marks are kept: the protocols and one module or package a driver.

Only a composition root picks a driver. `memory` is the readable specification; every driver passes the
contract suite in tests/contract.

`codec` says what the durable drivers keep as JSON, and which of it can be read.
"""
