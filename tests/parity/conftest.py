"""Conversions and exports are verified in the process of the test, whose imports are paid once.

All pictures are compared.
"""

from contextlib import nullcontext

import pytest

from hf_zhclip.conversion.exports import exporting
from hf_zhclip.conversion.proof import verification

from tests.conversion.helpers import answer_here, compare_here

IN_FRESH_PROCESS, WAITING_PROCESS = verification.in_fresh_process, verification.waiting_process


@pytest.fixture(scope="module", autouse=True)
def in_this_process():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "in_fresh_process", compare_here)
        patch.setattr(verification, "waiting_process", nullcontext)
        patch.setattr(exporting, "in_fresh_process", answer_here)
        yield


@pytest.fixture
def fresh_process(monkeypatch, in_this_process):
    """Asks for the verification as users get it, in a process of its own."""
    monkeypatch.setattr(verification, "in_fresh_process", IN_FRESH_PROCESS)
    monkeypatch.setattr(verification, "waiting_process", WAITING_PROCESS)
