"""Continuation tokens: every place comes back, and nothing else is taken for one."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringtime_ingest.service.tokens import decode_token, encode_token
from ringtime_shared.stores.protocol import Position

app_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
positions = st.builds(Position, st.integers(-(1 << 63), (1 << 63) - 1), st.uuids())
POSITION = Position(1_800_000_000_000, UUID(int=7))


@given(app_ids, positions)
def test_a_place_comes_back(app_id: str, position: Position) -> None:
    token = encode_token(app_id, position)
    assert decode_token(app_id, token) == position
    assert token.isascii()
    assert not set(token) & set("+/=&?# ")


@given(app_ids, positions, st.integers(0, 37), st.sampled_from("ABCxyz019_-=+/ é\x00"))
def test_a_changed_letter_is_told(app_id: str, position: Position, place: int, letter: str) -> None:
    token = encode_token(app_id, position)
    changed = token[:place] + letter + token[place + 1 :]
    if changed != token:
        with pytest.raises(ValueError, match="continuation token"):
            decode_token(app_id, changed)


@given(st.text() | st.text("ABCDefgh0123_-", min_size=38, max_size=38))
def test_other_text_is_told(text: str) -> None:
    with pytest.raises(ValueError, match="continuation token"):
        decode_token("shop", text)


def test_a_token_of_another_app_is_told() -> None:
    with pytest.raises(ValueError, match="same app"):
        decode_token("shop", encode_token("shoq", POSITION))
