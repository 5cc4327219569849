"""The executable model of the chain: the protocol holds, and each broken rule is caught."""

import pytest

from tests.journal.chain_model import BROKEN, selftest


def test_the_protocol_holds_in_the_first_states() -> None:
    """The protocol holds in the first states; broken rules that show early are caught."""
    assert selftest(limit=1500, trace=False, seconds=0.2, skip={"bare-tids", "early-filter"})


@pytest.mark.long
def test_the_protocol_holds() -> None:
    """In every state within the bounds it holds; each of 18 broken rules has a counterexample."""
    assert len(BROKEN) == 18
    assert selftest(limit=60_000, trace=False)
