"""NumPy's random numbers in torch, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neurodeploy.hw_models import random
from neurodeploy.simulate import philox

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES)
@given(
    first=st.one_of(st.integers(0, 1000), st.integers(2**31 - 3, 2**33)),
    count=st.integers(1, 9),
    size=st.integers(1, 70),
    name=st.tuples(st.integers(0, 2**64), st.text(max_size=5), st.integers(0, 99)),
)
def test_every_number_is_numpys(device: str, first: int, count: int, size: int, name: tuple[int, str, int]) -> None:
    normals = philox.step_normals(first, count, size, *name, device=device).cpu().numpy()
    integers = philox.step_integers(first, count, size, *name, device=device).cpu().numpy()
    np.testing.assert_array_equal(normals, random.step_normals(first, count, size, *name))
    np.testing.assert_array_equal(integers, random.step_integers(first, count, size, *name))
    assert normals.dtype == np.float32


def test_the_words_are_those_of_numpys_generator() -> None:
    """Enough of them that every carry of the long products occurs."""
    wanted = random.stream(3, "a").random_raw(4 * 20_000).reshape(-1, 4)
    np.testing.assert_array_equal(philox._blocks(0, 20_000, 3, "a", device="cpu").numpy().view(np.uint64), wanted)
