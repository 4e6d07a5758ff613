"""The terms inherit the contract; a new one inherits it by its place in TERMS."""

import pytest

from rolekd.distill.term import Term
from rolekd.distill.terms import TERMS
from rolekd.distill.testing import TermContract


@pytest.mark.parametrize("_kind", TERMS.values(), ids=TERMS)
class TestTerms(TermContract):
    @pytest.fixture(autouse=True)
    def _of_kind(self, _kind: type[Term]) -> None:
        self.kind = _kind
