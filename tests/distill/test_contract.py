"""The losses inherit the contract; a new one inherits it by its place in LOSSES."""

import pytest

from rolekd.distill.catalogue import LOSSES
from rolekd.distill.term import Term
from rolekd.distill.testing import TermContract


@pytest.mark.parametrize("_kind", LOSSES.values(), ids=LOSSES)
class TestTerms(TermContract):
    @pytest.fixture(autouse=True)
    def _of_kind(self, _kind: type[Term]) -> None:
        self.kind = _kind
