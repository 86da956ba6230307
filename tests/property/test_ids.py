"""Properties of schedule ids: nothing is lost in packing, ids sort by slot, two mints never meet."""

from __future__ import annotations

import asyncio
import pickle
import subprocess
import sys
from copy import copy
from itertools import product
from pathlib import Path
from random import Random
from uuid import NAMESPACE_DNS, UUID, uuid3, uuid4, uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringtime_shared import ids
from ringtime_shared.ids import (
    EPOCH_2020_MS,
    MAX_APPS,
    MAX_COUNT,
    MAX_NONCES,
    MAX_PARTITIONS,
    MAX_SLOT_MS,
    IdMint,
    IdParts,
    Kind,
    has_kind,
    home_of,
    home_slot,
    pack_id,
    to_uuid,
    unpack_id,
)
from ringtime_shared.stores.sqlite import SqliteStore

slots = st.integers(EPOCH_2020_MS, MAX_SLOT_MS)
nonces = st.integers(0, MAX_NONCES - 1)
all_parts = st.builds(
    IdParts,
    slot_ms=slots,
    kind=st.sampled_from(Kind),
    partition=st.integers(0, MAX_PARTITIONS - 1),
    app_number=st.integers(0, MAX_APPS - 1),
    nonce=nonces,
    counter=st.integers(0, MAX_COUNT - 1),
)
LOWEST = IdParts(EPOCH_2020_MS, Kind.ONE_TIME, 0, 0, 0, 0)
HIGHEST = IdParts(
    MAX_SLOT_MS, Kind.RECURRING, MAX_PARTITIONS - 1, MAX_APPS - 1, MAX_NONCES - 1, MAX_COUNT - 1
)


@given(all_parts)
def test_what_was_packed_is_unpacked(parts: IdParts) -> None:
    packed = pack_id(parts)
    assert unpack_id(packed) == parts
    assert home_slot(packed) == parts.slot_ms
    assert home_of(packed) == (parts.slot_ms, parts.partition, parts.app_number)
    assert unpack_id(UUID(str(packed))) == parts
    assert (packed.version, packed.variant) == (8, uuid4().variant)


@given(st.one_of(all_parts.map(pack_id), st.uuids()))
def test_what_is_told_without_unpacking_is_the_same(schedule_id: UUID) -> None:
    try:
        kind = unpack_id(schedule_id).kind
    except ValueError:
        kind = None
    assert [each for each in Kind if has_kind(schedule_id, each)] == ([] if kind is None else [kind])
    made = to_uuid(schedule_id.int)
    assert (made, hash(made), str(made), made.bytes) == (
        schedule_id,
        hash(schedule_id),
        str(schedule_id),
        schedule_id.bytes,
    )
    assert pickle.loads(pickle.dumps(made)) == copy(made) == schedule_id
    assert made.is_safe is schedule_id.is_safe


def test_every_corner_is_unpacked() -> None:
    for corner in product(
        (LOWEST.slot_ms, HIGHEST.slot_ms),
        Kind,
        (0, HIGHEST.partition),
        (0, HIGHEST.app_number),
        (0, HIGHEST.nonce),
        (0, HIGHEST.counter),
    ):
        assert unpack_id(pack_id(IdParts(*corner))) == IdParts(*corner)


@pytest.mark.parametrize("name", ["slot_ms", "partition", "app_number", "nonce", "counter"])
@pytest.mark.parametrize(("corner", "step"), [(LOWEST, -1), (HIGHEST, 1)])
def test_one_past_a_bound_is_refused_by_name(name: str, corner: IdParts, step: int) -> None:
    values = {field: getattr(corner, field) for field in corner._fields}
    values[name] += step
    with pytest.raises(ValueError, match=f"^{name} "):
        pack_id(IdParts(**values))


@given(all_parts, all_parts)
def test_ids_of_one_kind_sort_by_slot(one: IdParts, other: IdParts) -> None:
    if one.slot_ms != other.slot_ms:
        is_lower = one.slot_ms < other.slot_ms
        assert (pack_id(one) < pack_id(other)) is is_lower
        assert (str(pack_id(one)) < str(pack_id(other))) is is_lower


@given(st.lists(slots, max_size=50))
def test_text_and_number_sort_alike(fire_times: list[int]) -> None:
    mint = IdMint(3)
    made = [mint.mint(slot_ms=each, kind=Kind.RUN, partition=1, app_number=2) for each in fire_times]
    assert sorted(made) == sorted(made, key=str)
    assert [home_slot(each) for each in sorted(made)] == sorted(fire_times)


@given(st.one_of(st.uuids(version=1), st.uuids(version=3), st.uuids(version=4), st.uuids(version=5)))
def test_an_id_of_another_version_is_refused(foreign: UUID) -> None:
    with pytest.raises(ValueError, match="not a schedule id"):
        unpack_id(foreign)
    assert home_of(foreign) is None


@pytest.mark.parametrize(
    "foreign",
    [
        UUID(int=0),
        UUID(int=(1 << 128) - 1),
        UUID("cdfcc452-e914-11f1-9c68-02fc00000001"),
        uuid3(NAMESPACE_DNS, "a"),
        uuid5(NAMESPACE_DNS, "a"),
        UUID("018f3c5e-7b2a-7cc3-98c4-dc0c0c07398f"),  # version 7
        UUID(int=pack_id(LOWEST).int ^ 1 << 62),  # the right version, another variant
        UUID(int=pack_id(LOWEST).int ^ 1 << 76),
    ],
    ids=str,
)
def test_a_foreign_id_is_refused(foreign: UUID) -> None:
    with pytest.raises(ValueError, match="not a schedule id"):
        unpack_id(foreign)
    assert home_of(foreign) is None


def test_a_kind_never_given_out_is_refused() -> None:
    kind_bits = 3 << (128 - ids.SLOT_BITS - ids.KIND_BITS)
    with pytest.raises(ValueError, match="3"):
        unpack_id(UUID(int=pack_id(LOWEST).int | kind_bits))


@settings(max_examples=50)
@given(st.sets(nonces, min_size=2, max_size=6), slots, st.integers(1, 60))
def test_mints_with_different_nonces_never_collide(numbers: set[int], slot_ms: int, count: int) -> None:
    made = [
        mint.mint(slot_ms=slot_ms, kind=Kind.ONE_TIME, partition=5, app_number=6)
        for mint in map(IdMint, numbers)
        for _ in range(count)
    ]
    assert len(set(made)) == len(made)


@given(all_parts)
def test_a_mint_says_what_pack_says(parts: IdParts) -> None:
    mint = IdMint(parts.nonce)
    mint._counter = parts.counter
    made = mint.mint(
        slot_ms=parts.slot_ms, kind=parts.kind, partition=parts.partition, app_number=parts.app_number
    )
    assert made == pack_id(parts)


def test_a_spent_mint_makes_no_more_ids() -> None:
    mint = IdMint(0)
    mint._counter = MAX_COUNT - 1
    assert mint.left
    last = mint.mint(slot_ms=MAX_SLOT_MS, kind=Kind.ONE_TIME, partition=0, app_number=0)
    assert unpack_id(last).counter == MAX_COUNT - 1
    assert not mint.left
    with pytest.raises(ValueError, match="cannot make an id"):
        mint.mint(slot_ms=MAX_SLOT_MS, kind=Kind.ONE_TIME, partition=0, app_number=0)


@pytest.mark.parametrize("slot_ms", [EPOCH_2020_MS - 1, MAX_SLOT_MS + 1])
def test_a_slot_outside_the_years_takes_no_count(slot_ms: int) -> None:
    mint = IdMint(0)
    with pytest.raises(ValueError, match="cannot make an id"):
        mint.mint(slot_ms=slot_ms, kind=Kind.ONE_TIME, partition=0, app_number=0)
    made = mint.mint(slot_ms=EPOCH_2020_MS, kind=Kind.ONE_TIME, partition=0, app_number=0)
    assert unpack_id(made).counter == 0


@pytest.mark.parametrize("nonce", [-1, MAX_NONCES])
def test_a_nonce_out_of_range_is_refused(nonce: int) -> None:
    with pytest.raises(ValueError, match="nonce"):
        IdMint(nonce)


_MAKE_IDS = """
import asyncio, sys
from pathlib import Path
from ringtime_shared.ids import IdMint, Kind
from ringtime_shared.stores.sqlite import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]), exclusive=False)
    print("ready", flush=True)
    sys.stdin.readline()
    mint = IdMint(await store.claim_nonce("test"))
    for number in range(5_000):
        print(mint.mint(slot_ms=1_800_000_000_000 + number % 7, kind=Kind.ONE_TIME, partition=1, app_number=1))
    await store.close()

asyncio.run(main())
"""  # noqa: E501


@pytest.mark.slow
def test_processes_with_nonces_of_one_store_never_collide(tmp_path: Path) -> None:
    async def create() -> None:
        await (await SqliteStore.open(tmp_path)).close()

    asyncio.run(create())
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _MAKE_IDS, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:  # both at once from here
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        made = [line for process in processes for line in process.communicate(timeout=120)[0].split()]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [process.returncode for process in processes] == [0, 0]
    assert len(set(made)) == len(made) == 10_000
    assert len({unpack_id(UUID(each)).nonce for each in Random(1).sample(made, 200)}) == 2
