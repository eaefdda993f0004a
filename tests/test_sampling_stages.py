"""Every stage of the sampler chain against a slow and obvious reference, and its properties."""

import math
import struct
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smelt import sampling_stages as stages
from smelt.errors import SamplingError
from smelt.sampling_stages import Candidates

SIZES = [1, 2, 31, 33, 257, 5000]
MASSES = [0.0, 0.1, 0.5, 0.9, 0.999]


def candidates_of(logits):
    logits = np.asarray(logits, np.float64)
    return Candidates(np.arange(logits.size), logits)


def random_logits(n, seed=0, scale=3.0):
    # Rounded to float32, as a model's logits are.
    values = np.random.default_rng(seed).standard_normal(n) * scale
    return values.astype(np.float32).astype(np.float64)


def softmax(logits):
    top = max(logits)
    weights = [math.exp(logit - top) for logit in logits]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def shortest_reaching(order, probabilities, mass):
    """The shortest prefix of `order`, one at least, whose probabilities sum to `mass`."""
    chosen, reached = [], 0.0
    for i in order:
        chosen.append(i)
        reached += probabilities[i]
        if reached >= mass:
            break
    return chosen


def reference_top_k(logits, k):
    return sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:k]


def reference_top_p(logits, mass):
    order = reference_top_k(logits, len(logits))
    return shortest_reaching(order, softmax(logits), mass)


def reference_typical(logits, mass):
    probabilities = softmax(logits)
    entropy = -math.fsum(p * math.log(p) for p in probabilities if p > 0)

    def distance(i):
        return abs(-math.log(probabilities[i]) - entropy)

    order = sorted(range(len(logits)), key=lambda i: (distance(i), i))
    return shortest_reaching(order, probabilities, mass)


def reference_min_p(logits, fraction):
    probabilities = softmax(logits)
    return [i for i, p in enumerate(probabilities) if p >= fraction * max(probabilities)]


def assert_keeps(stage, logits, expected):
    kept = stage(candidates_of(logits))
    assert kept.ids.tolist() == sorted(expected)
    assert kept.logits.tolist() == [logits[i] for i in sorted(expected)]


# Few different values: ties are what selection gets wrong.
tied_logits = arrays(
    np.float64, st.integers(1, 200), elements=st.integers(-3, 3).map(lambda n: n / 2)
)
any_logits = arrays(
    np.float64, st.integers(1, 200), elements=st.floats(-30, 30, width=32, allow_nan=False)
)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("k", [1, 2, 30, 64, 5000, 6000])
def test_top_k_matches_the_reference(n, k):
    logits = random_logits(n)
    assert_keeps(stages.top_k(k), logits, reference_top_k(logits, k))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("mass", MASSES)
def test_top_p_matches_the_reference(n, mass):
    logits = random_logits(n)
    assert_keeps(stages.top_p(mass), logits, reference_top_p(logits, mass))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("mass", MASSES)
def test_typical_matches_the_reference(n, mass):
    logits = random_logits(n)
    assert_keeps(stages.typical(mass), logits, reference_typical(logits, mass))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("fraction", [1e-6, 0.05, 0.5, 1.0])
def test_min_p_matches_the_reference(n, fraction):
    logits = random_logits(n)
    assert_keeps(stages.min_p(fraction), logits, reference_min_p(logits, fraction))


@pytest.mark.parametrize("value", [0.1, 0.8, 1.5, 100.0])
def test_temperature_gives_the_softmax_of_divided_logits(value):
    logits = random_logits(257)
    kept = stages.temperature(value)(candidates_of(logits))
    assert kept.ids.tolist() == list(range(257))
    np.testing.assert_allclose(softmax(kept.logits), softmax(logits / value), rtol=1e-12)


def test_a_tiny_temperature_leaves_the_best_tokens_only():
    kept = stages.temperature(5e-324)(candidates_of([1.0, 3.0, 2.0, 3.0]))
    assert kept.ids.tolist() == [1, 3]


def test_typical_can_drop_the_most_likely_token():
    logits = np.log([0.6, *[0.4 / 50] * 50])  # entropy 2.24: 0.51 for the first, 4.83 for others
    assert_keeps(stages.typical(0.3), logits, [0])
    logits = np.log([0.3, *[0.7 / 50] * 50])  # entropy 3.35: 1.20 for the first, 4.27 for others
    assert_keeps(stages.typical(0.1), logits, range(1, 9))


@pytest.mark.parametrize("n_impossible", [0, 1, 256])
def test_possible_drops_minus_infinity(n_impossible):
    logits = random_logits(257)
    logits[:n_impossible] = -math.inf
    assert_keeps(stages.possible, logits, range(n_impossible, 257))


def test_logit_bias_adds_to_the_named_tokens():
    logits = random_logits(33)
    changed = logits.copy()
    stages.logit_bias({3: 1.5, 32: -2.0, 7: -math.inf})(changed, [])
    expected = logits.copy()
    expected[[3, 32, 7]] += [1.5, -2.0, -math.inf]
    assert changed.tolist() == expected.tolist()


@pytest.mark.parametrize("window", [-1, 1, 5, 64, 1000])
@pytest.mark.parametrize("amounts", [(1.3, 0.0, 0.0), (0.5, 0.7, 0.0), (1.1, -0.5, 0.25)])
def test_penalties_match_the_reference(window, amounts):
    repetition, presence, frequency = amounts
    logits = random_logits(33)
    history = np.random.default_rng(1).integers(0, 33, 100).tolist()
    changed = logits.copy()
    stages.penalties(*amounts, window)(changed, history)

    expected = logits.tolist()
    for token, count in Counter(history if window < 0 else history[-window:]).items():
        value = expected[token]
        value = value / repetition if value > 0 else value * repetition
        expected[token] = value - presence - frequency * count
    np.testing.assert_allclose(changed, expected, rtol=1e-14)


def test_penalties_leave_an_empty_history_and_impossible_tokens_alone():
    logits = np.array([1.0, -math.inf, 2.0])
    stages.penalties(1.5, 1.0, 1.0, 64)(logits, [])
    assert logits.tolist() == [1.0, -math.inf, 2.0]
    stages.penalties(1.5, 1.0, 1.0, 64)(logits, [1])
    assert logits.tolist() == [1.0, -math.inf, 2.0]


@pytest.mark.parametrize("wrong", [-1, 33, 10**9])
def test_penalties_refuse_tokens_outside_the_vocabulary(wrong):
    shift = stages.penalties(1.1, 0.0, 0.0, 4)
    with pytest.raises(SamplingError, match=rf"token id {wrong}, .* vocabulary of 33"):
        shift(random_logits(33), [1, wrong, 3])
    shift(random_logits(33), [wrong, 1, 1, 1, 1])  # outside the window: not looked at


@given(st.one_of(tied_logits, any_logits), st.integers(1, 250))
def test_top_k_keeps_exactly_k_and_the_best(logits, k):
    kept = stages.top_k(k)(candidates_of(logits))
    assert kept.ids.tolist() == sorted(reference_top_k(logits, k))
    assert kept.ids.size == min(k, logits.size)


@given(any_logits, st.floats(0.001, 0.999))
def test_top_p_is_the_smallest_set_that_reaches_the_mass(logits, mass):
    probabilities = np.array(softmax(logits))
    kept = probabilities[stages.top_p(mass)(candidates_of(logits)).ids]
    assert kept.sum() >= mass - 1e-12
    assert kept.sum() - kept.min() < mass + 1e-12
    assert kept.min() >= np.delete(np.sort(probabilities)[::-1], range(kept.size)).max(initial=0)


@given(any_logits, st.floats(0.001, 1.0))
def test_min_p_keeps_what_reaches_the_threshold(logits, fraction):
    probabilities = np.array(softmax(logits))
    kept = stages.min_p(fraction)(candidates_of(logits)).ids
    threshold = fraction * probabilities.max()
    assert (probabilities[kept] >= threshold * (1 - 1e-12)).all()
    assert (np.delete(probabilities, kept) < threshold * (1 + 1e-12)).all()


@given(tied_logits, st.integers(1, 20), st.floats(0.01, 1.0))
def test_top_k_and_min_p_commute(logits, k, fraction):
    first, second = stages.top_k(k), stages.min_p(fraction)
    one_way = second(first(candidates_of(logits)))
    other_way = first(second(candidates_of(logits)))
    assert one_way.ids.tolist() == other_way.ids.tolist()


@given(tied_logits, st.integers(1, 20), st.floats(0.1, 10.0))
def test_top_k_and_temperature_commute(logits, k, value):
    first, second = stages.top_k(k), stages.temperature(value)
    one_way = second(first(candidates_of(logits)))
    other_way = first(second(candidates_of(logits)))
    assert one_way.ids.tolist() == other_way.ids.tolist()
    assert one_way.logits.tolist() == other_way.logits.tolist()


@given(any_logits, st.floats(0.0, 1.0))
def test_every_cut_leaves_a_token_and_the_order_of_ids(logits, mass):
    for stage in (stages.top_p(mass), stages.typical(mass), stages.min_p(mass)):
        kept = stage(candidates_of(logits))
        assert kept.ids.size >= 1
        assert (np.diff(kept.ids) > 0).all()


@given(any_logits, st.floats(0.0, 1.0, exclude_max=True))
def test_draw_inverts_the_cumulative_distribution(logits, uniform):
    token = stages.draw(candidates_of(logits), uniform)
    cumulative = np.cumsum(softmax(logits))
    assert cumulative[token] >= uniform - 1e-12
    assert token == 0 or cumulative[token - 1] <= uniform + 1e-12


@pytest.mark.parametrize("uniform", [0.0, 0.25, 0.5, 1.0 - 2.0**-53])
def test_draw_never_takes_a_token_of_no_weight(uniform):
    logits = np.full(101, -800.0)
    logits[[40, 60]] = 0.0
    assert stages.draw(candidates_of(logits), uniform) in (40, 60)


def test_the_exponential_is_within_two_units_in_the_last_place():
    x = np.concatenate((-np.logspace(-300, math.log10(699), 20_000), [0.0, -math.log(2)]))
    expected = np.array([math.exp(value) for value in x])
    error = np.abs(stages._exp(x) - expected) / np.spacing(expected)
    assert error.max() <= 2.0
    assert stages._exp(np.array([-700.0, -1e300, -math.inf])).tolist() == [0.0, 0.0, 0.0]


def test_the_exponential_has_the_same_bits_everywhere():
    """The same steps in Python floats, which are IEEE doubles rounded once an operation."""

    def exponential(x):
        k = float(round(x * stages._LOG2_E))
        r = x - k * stages._LN2_HIGH
        r -= k * stages._LN2_LOW
        result = stages._EXP_TERMS[0]
        for term in stages._EXP_TERMS[1:]:
            result = result * r + term
        return math.ldexp(result, int(k))

    x = -np.random.default_rng(0).exponential(20.0, 3000)
    for value, found in zip(x.tolist(), stages._exp(x).tolist(), strict=True):
        assert struct.pack("d", found) == struct.pack("d", exponential(value))


@pytest.mark.parametrize("n", [8192, 8193, 20_000])
def test_weights_do_not_depend_on_the_block_they_are_in(n):
    logits = random_logits(n)
    weights = stages._weights(logits)
    assert weights[logits.argmax()] == 1.0
    assert weights.tolist() == stages._exp(logits - logits.max()).tolist()
