"""What a session knows of a deployment: a View stays as it was, though it holds the claims themselves."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from aetcd import rpc

from ringtime_shared.coordination.etcd.book import Book
from ringtime_shared.coordination.etcd.keys import Layout
from ringtime_shared.coordination.protocol import Claim
from ringtime_shared.models.app import Instance

LAYOUT = Layout("/test")
ONE, TWO, THREE = (Instance("app", partition) for partition in range(3))


def told(instance: Instance, node: str, revision: int, *, is_gone: bool = False) -> Any:
    """Return an event of the watch."""
    item = SimpleNamespace(
        key=LAYOUT.claim_key(instance),
        value=node.encode(),
        create_revision=revision,
        mod_revision=revision,
    )
    return SimpleNamespace(kv=item, type=rpc.Event.DELETE if is_gone else rpc.Event.PUT)


def test_a_view_stays_as_it_was_whoever_writes_next() -> None:
    book = Book(LAYOUT)
    book.note_claimed("n1", {ONE: 5, TWO: 5}, 5)
    views = [book.view()]
    book.apply([told(THREE, "n2", 6)])
    views.append(book.view())
    book.apply([told(Instance("other", 0), "n2", 7)])  # nobody looks in between
    book.apply([told(ONE, "n1", 8, is_gone=True)])
    views.append(book.view())
    book.note_released([TWO], 9)
    fresh = Book(LAYOUT)
    fresh.fill([told(ONE, "n3", 10).kv])
    book.take_over(fresh, 10)
    views.append(book.view())
    book.note_claimed("n1", {TWO: 11}, 11)
    assert [{str(each) for each in view.claims} for view in views] == [
        {"app.0", "app.1"},
        {"app.0", "app.1", "app.2"},
        {"app.1", "app.2", "other.0"},
        {"app.0"},
    ]


def test_claims_of_one_transaction_are_one_object() -> None:
    book = Book(LAYOUT)
    book.note_claimed("n1", {ONE: 5000, TWO: 5000}, 5000)
    book.apply([told(ONE, "n1", 5000), told(TWO, "n1", 5000), told(THREE, "n2", 5000)])
    claims = book.view().claims
    assert claims[ONE] is claims[TWO]
    assert claims == {ONE: Claim("n1", 5000), TWO: Claim("n1", 5000), THREE: Claim("n2", 5000)}
