"""The executable model of the chain: the protocol holds, and each broken rule is caught."""

import pytest

from tests.journal.chain_model import BROKEN, selftest


def test_the_protocol_holds_nearby() -> None:
    """Within the first states, and for the rules whose breach shows early."""
    assert selftest(limit=1500, trace=False, seconds=0.2, skip={"bare-tids", "early-filter"})


@pytest.mark.long
def test_the_protocol_holds() -> None:
    """In every state within the model's bounds; each of 17 broken rules has a counterexample."""
    assert len(BROKEN) == 17
    assert selftest(limit=60_000, trace=False)
