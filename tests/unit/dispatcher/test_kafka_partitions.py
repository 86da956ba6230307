"""Keys go to the partitions that the Java client and aiokafka put them in."""

from __future__ import annotations

from random import Random

from aiokafka.partitioner import DefaultPartitioner
from aiokafka.partitioner import murmur2 as slow_murmur2

from ringtime_dispatcher.callbacks.kafka.partitioner import murmur2, partition_of


def test_a_key_goes_where_other_clients_put_it() -> None:
    rng, partitions = Random(1), list(range(20))
    for length in [*range(40), 255, 256, 4_099]:
        key = rng.randbytes(length)
        assert murmur2(key) == slow_murmur2(key)
        assert partition_of(key, partitions, partitions) == DefaultPartitioner()(key, partitions, partitions)


def test_the_hash_is_that_of_the_java_client() -> None:
    """The values of its own tests, org.apache.kafka.common.utils.UtilsTest, as numbers without a sign."""
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    assert {key: murmur2(key) for key in known} == {key: each % (1 << 32) for key, each in known.items()}
