"""Where rows, apps and marks are kept: the protocols and one module or package a driver.

Only a composition root picks a driver. `memory` is the readable specification; every driver passes the
contract suite in tests/contract.

`extras`, `app_text` and `letter_text` say what the durable drivers keep as JSON.
"""
