"""The sampler chain as a whole: choices, reproducibility, frequencies, and what it refuses."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from smelt.errors import SamplingError, SmeltError
from smelt.sampling import Sampler, SamplingParams

float32_logits = arrays(
    np.float32, st.integers(1, 100), elements=st.floats(-50, 50, width=32, allow_nan=False)
)


def random_logits(n, seed=0, scale=3.0):
    return (np.random.default_rng(seed).standard_normal(n) * scale).astype(np.float32)


def softmax(logits):
    weights = np.exp(np.asarray(logits, np.float64) - np.max(logits))
    return weights / weights.sum()


def tokens(logits, n, history=(), **params):
    sampler = Sampler(SamplingParams(**params), logits.size)
    return [sampler.sample(logits, history) for _ in range(n)]


# --- the choice ---


@pytest.mark.parametrize("n", [1, 31, 257, 150_000])
def test_the_default_is_greedy(n):
    logits = random_logits(n)
    assert tokens(logits, 1) == [int(logits.argmax())]


def test_greedy_ties_go_to_the_lowest_id():
    logits = np.array([0, 5, 1, 5, 5], np.float32)
    assert tokens(logits, 1) == [1]
    assert tokens(logits, 1, logit_bias={1: -1.0}) == [3]


def test_greedy_comes_after_bias_and_penalties():
    logits = np.array([4.0, 3.9, 3.0, -1.0], np.float32)
    assert tokens(logits, 1, [0], repetition_penalty=1.2) == [1]
    assert tokens(logits, 1, [0, 1], presence_penalty=1.5) == [2]
    assert tokens(logits, 1, [0, 1], frequency_penalty=0.25) == [0]
    assert tokens(logits, 1, [0, 0, 1], frequency_penalty=0.25) == [1]
    assert tokens(logits, 1, [0, 0, 1], frequency_penalty=0.25, penalty_window=2) == [0]
    assert tokens(logits, 1, [0], repetition_penalty=2.0, penalty_window=0) == [0]
    assert tokens(logits, 1, logit_bias={3: 6.0}) == [3]
    assert tokens(logits, 1, logit_bias={0: -math.inf}) == [1]


@given(float32_logits, st.integers(0, 2**64 - 1))
def test_a_low_temperature_tends_to_greedy(logits, seed):
    best = np.flatnonzero(logits == logits.max())
    assert set(tokens(logits, 5, temperature=1e-300, seed=seed)) <= set(best.tolist())
    assert tokens(logits, 1, temperature=1.0, top_k=1, seed=seed) == [int(best[0])]
    assert tokens(logits, 1, temperature=1.0, top_p=0.0, seed=seed) == [int(best[0])]


@given(float32_logits, st.data())
def test_every_choice_is_one_that_every_stage_allows(logits, data):
    logits[data.draw(st.integers(0, logits.size - 1)) :] -= 20
    k = data.draw(st.integers(1, 10))
    chosen = tokens(logits, 5, temperature=2.0, top_k=k, min_p=0.01, top_p=0.95, seed=1)
    for token in chosen:
        assert (logits > logits[token]).sum() < k
        assert logits[token] >= logits.max() + math.log(0.01) - 1e-5


def test_the_stages_run_in_the_documented_order():
    # After top-k 2 the first token has 0.8 of the mass, so that top-p 0.75 keeps it alone;
    # the other way round top-p would need three tokens.
    logits = np.log(np.array([0.4, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1], np.float32))
    assert set(tokens(logits, 50, temperature=1.0, top_k=2, top_p=0.75, seed=0)) == {0}
    # The cuts see the probabilities before the temperature: at 100 min-p would keep every token.
    assert set(tokens(logits, 50, temperature=100.0, min_p=0.5, seed=0)) == {0}


def test_impossible_tokens_are_never_drawn():
    logits = random_logits(257)
    logits[::2] = -math.inf
    for params in ({}, {"top_k": 200}, {"typical_p": 0.95}, {"top_p": 0.99}, {"min_p": 1e-9}):
        chosen = tokens(logits, 50, temperature=50.0, seed=3, **params)
        assert all(token % 2 for token in chosen)


def test_the_logits_are_left_as_they_were():
    logits = random_logits(257)
    before = logits.copy()
    tokens(logits, 3, [1, 2], temperature=1.0, repetition_penalty=2.0, logit_bias={5: 1.0}, seed=1)
    assert logits.tobytes() == before.tobytes()


def test_logits_may_be_read_only_and_strided():
    logits = np.repeat(random_logits(33), 2)[::2]
    logits.flags.writeable = False
    assert tokens(logits, 1) == [int(logits.argmax())]
    assert tokens(logits, 1, temperature=1.0, top_k=1, seed=1) == [int(logits.argmax())]


# --- the random numbers ---


def test_the_same_seed_gives_the_same_tokens():
    logits = random_logits(5000)
    params = {"temperature": 1.2, "top_p": 0.95}
    assert tokens(logits, 50, seed=7, **params) == tokens(logits, 50, seed=7, **params)
    assert tokens(logits, 50, seed=7, **params) != tokens(logits, 50, seed=8, **params)


def test_the_tokens_of_a_seed_are_those_of_every_platform_and_release():
    logits = ((np.arange(1000, dtype=np.int64) * 7919 % 1000) / 128).astype(np.float32)
    assert tokens(logits, 8, temperature=1.0, seed=1) == [519, 951, 149, 951, 310, 421, 829, 409]
    everything = {"top_k": 100, "typical_p": 0.95, "top_p": 0.9, "min_p": 0.01, "temperature": 0.8}
    chosen = tokens(logits, 8, [1, 2, 3], repetition_penalty=1.1, seed=1, **everything)
    assert chosen == [519, 951, 161, 951, 321, 433, 840, 420]


def test_a_fresh_seed_can_be_read_back():
    logits = random_logits(5000)
    sampler = Sampler(SamplingParams(temperature=1.0), 5000)
    chosen = [sampler.sample(logits, []) for _ in range(20)]
    assert chosen == tokens(logits, 20, temperature=1.0, seed=sampler.seed)
    assert Sampler(SamplingParams(temperature=1.0), 5000).seed != sampler.seed
    assert Sampler(SamplingParams(seed=5), 10).seed == 5


def truncated(probabilities, keep):
    kept = np.zeros_like(probabilities)
    kept[keep] = probabilities[keep]
    return kept / kept.sum()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", ["plain", "temperature", "top_k", "top_p", "min_p"])
def test_tokens_come_as_often_as_their_probability_says(name, seed):
    """Pearson's chi-square; its 1 - 1e-6 quantile by Wilson and Hilferty's approximation."""
    logits = random_logits(40, seed=5, scale=1.0)
    plain = softmax(logits)
    by_rank = np.argsort(-plain)
    nucleus = by_rank[: np.searchsorted(np.cumsum(plain[by_rank]), 0.7) + 1]
    params, expected = {
        "plain": ({}, plain),
        "temperature": ({"temperature": 1.7}, softmax(logits / 1.7)),
        "top_k": ({"top_k": 9}, truncated(plain, by_rank[:9])),
        "top_p": ({"top_p": 0.7}, truncated(plain, nucleus)),
        "min_p": ({"min_p": 0.2}, truncated(plain, plain >= 0.2 * plain.max())),
    }[name]
    n = 4000
    chosen = tokens(logits, n, **{"temperature": 1.0, "seed": seed, **params})
    counts = np.bincount(chosen, minlength=40)
    assert counts[expected == 0].sum() == 0
    counts, expected = counts[expected > 0], expected[expected > 0] * n
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = expected.size - 1
    limit = freedom * (1 - 2 / (9 * freedom) + 4.75 * math.sqrt(2 / (9 * freedom))) ** 3
    assert statistic < limit


# --- log probabilities ---


@pytest.mark.parametrize("n", [0, 1, 5, 33, 100])
def test_logprobs_are_those_of_the_softmax(n):
    logits = random_logits(33)
    sampler = Sampler(SamplingParams(temperature=3.0, logit_bias={2: 50.0}), 33)
    expected = np.log(softmax(logits))
    chosen = sampler.logprobs(logits, 2, n)
    assert chosen.logprob == pytest.approx(expected[2], abs=1e-12)
    assert [token for token, _ in chosen.top] == np.argsort(-expected)[:n].tolist()
    for token, logprob in chosen.top:
        assert logprob == pytest.approx(expected[token], abs=1e-12)


def test_logprobs_of_impossible_tokens_and_of_ties():
    logits = np.array([-math.inf, 0, -math.inf, 0], np.float32)
    sampler = Sampler(SamplingParams(), 4)
    found = sampler.logprobs(logits, 0, 4)
    assert found.logprob == -math.inf
    assert found.top == [(1, -math.log(2)), (3, -math.log(2))]


def test_logprobs_of_large_logits_are_exact():
    logits = np.array([3e38, 3e38, -3e38], np.float32)
    assert Sampler(SamplingParams(), 3).logprobs(logits, 0, 0).logprob == -math.log(2)


@pytest.mark.parametrize(("token", "n"), [(-1, 1), (33, 1), (0, -1), (0.5, 1), (0, 1.5)])
def test_logprobs_refuse_what_is_out_of_range(token, n):
    with pytest.raises(SamplingError, match="must be an integer from 0"):
        Sampler(SamplingParams(), 33).logprobs(random_logits(33), token, n)


# --- what is refused ---

CHAINS = [{}, {"temperature": 1.0}, {"temperature": 1.0, "top_k": 5}, {"repetition_penalty": 1.1}]


@pytest.mark.parametrize("params", CHAINS)
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_and_infinity_name_the_first_token_and_the_count(params, bad):
    logits = random_logits(257)
    logits[[200, 31, 33]] = bad
    sampler = Sampler(SamplingParams(**params), 257)
    for call in (lambda: sampler.sample(logits, []), lambda: sampler.logprobs(logits, 0, 1)):
        with pytest.raises(SamplingError, match=rf"^3 of 257 .* token 31 \({bad}\)"):
            call()


def test_nan_is_found_behind_an_infinity():
    logits = np.array([0, math.inf, -math.inf, math.nan], np.float32)
    with pytest.raises(SamplingError, match=r"^2 of 4 .* token 1 \(inf\)"):
        tokens(logits, 1)


@pytest.mark.parametrize("params", CHAINS)
def test_no_possible_token_is_an_error(params):
    with pytest.raises(SamplingError, match="all 33 logits are -inf"):
        tokens(np.full(33, -math.inf, np.float32), 1, **params)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_bias_that_bans_everything_is_an_error(temperature):
    logits = np.array([-math.inf, 1.0], np.float32)
    with pytest.raises(SamplingError, match="bans every token"):
        tokens(logits, 1, temperature=temperature, logit_bias={1: -math.inf})


@pytest.mark.parametrize(
    "logits", [np.zeros(32, np.float32), np.zeros((1, 33), np.float32), np.zeros(33, np.int32)]
)
def test_logits_of_another_shape_or_type_are_refused(logits):
    with pytest.raises(SamplingError, match="must be 33 floats"):
        Sampler(SamplingParams(), 33).sample(logits, [])


def test_a_bias_beyond_the_vocabulary_is_refused():
    with pytest.raises(SamplingError, match="token 33, but the vocabulary has 33"):
        Sampler(SamplingParams(logit_bias={33: 1.0}), 33)


def test_a_history_beyond_the_vocabulary_is_refused():
    with pytest.raises(SamplingError, match="token id 33"):
        tokens(random_logits(33), 1, [33], presence_penalty=1.0)


@pytest.mark.parametrize(
    ("name", "values", "allowed"),
    [
        ("temperature", [-0.1, 1e7, "1", None, True], "a number from 0 to 1e+06"),
        ("top_k", [-1, 2**31, 1.5, True, "4"], "an integer from 0 to 2147483647"),
        ("top_p", [-0.1, 1.1, 10**400], "a number from 0 to 1"),
        ("min_p", [-0.1, 1.1], "a number from 0 to 1"),
        ("typical_p", [-0.1, 1.1], "a number from 0 to 1"),
        ("repetition_penalty", [0.0, -1.0, 1e4], "a number from 0.001 to 1000"),
        ("presence_penalty", [1e7, -1e7], "a number from -1e+06 to 1e+06"),
        ("frequency_penalty", [1e7, -1e7], "a number from -1e+06 to 1e+06"),
        ("penalty_window", [-2, 0.5], "an integer from -1 to 2147483647"),
        ("seed", [-1, 2**64, 1.0], "an integer from 0 to 18446744073709551615"),
    ],
)
def test_parameters_out_of_range_are_refused(name, values, allowed):
    numbers = [] if allowed.startswith("an int") else [math.nan, math.inf, -math.inf]
    for value in [*values, *numbers]:
        with pytest.raises(SamplingError) as caught:
            SamplingParams(**{name: value})
        assert str(caught.value) == f"{name} must be {allowed}, found {value!r}"


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        ({-1: 1.0}, "token id of logit_bias must be an integer from 0"),
        ({"1": 1.0}, "token id of logit_bias must be an integer from 0"),
        ({1: math.nan}, r"logit_bias\[1\] must be a number from -inf to 1e\+06, found nan"),
        ({1: math.inf}, r"logit_bias\[1\] must be a number"),
        ([1.0], "logit_bias must map token ids to numbers"),
    ],
)
def test_biases_out_of_range_are_refused(bias, message):
    with pytest.raises(SmeltError, match=message):
        SamplingParams(logit_bias=bias)


def test_parameters_take_numpy_numbers_and_cannot_change_afterwards():
    bias = {np.int64(3): np.float32(1.5)}
    params = SamplingParams(temperature=np.float32(0.5), top_k=np.int32(7), logit_bias=bias)
    bias[4] = 1.0
    assert params == SamplingParams(temperature=0.5, top_k=7, logit_bias={3: 1.5})
    assert type(params.temperature) is float
    assert type(params.top_k) is int
    with pytest.raises(dataclasses.FrozenInstanceError):
        params.top_k = 8


@pytest.mark.parametrize("ban", [-math.inf, -1e308])
def test_the_largest_biases_and_penalties_do_not_overflow(ban):
    logits = np.array([3e38, -3e38, 0, 1], np.float32)
    extremes = {"repetition_penalty": 1e-3, "presence_penalty": 1e6, "frequency_penalty": 1e6}
    bias = {0: ban, 1: 1e6, 2: ban}
    assert tokens(logits, 1, [0, 1, 2, 3] * 99, logit_bias=bias, **extremes) == [3]
    extremes["repetition_penalty"] = 1e3
    assert tokens(logits, 1, [0, 1, 2, 3] * 99, logit_bias=bias, **extremes) == [3]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0.8, "top_k": 5},
        {"temperature": 1.3, "top_k": 40, "top_p": 0.9, "min_p": 0.01},
        {"temperature": 1.0, "top_k": 7, "typical_p": 0.9},
        {"temperature": 1.0, "top_k": 10**6},
        {"logit_bias": {3: -math.inf, 17: -2.0, 59: 0.0}},
        {"temperature": 0.8, "top_k": 5, "logit_bias": dict.fromkeys(range(9), -math.inf)},
        {"temperature": 0.8, "top_k": 5, "logit_bias": dict.fromkeys(range(20, 40), -1.5)},
    ],
)
def test_the_largest_logits_are_enough(options):
    """sample_top draws what sample draws, ties and all; devices may then read back a few logits."""
    params = SamplingParams(seed=5, **options)
    rng = np.random.default_rng(0)
    whole, part = Sampler(params, 60), Sampler(params, 60)
    n_biases = len(options.get("logit_bias", ()))
    assert part.enough == min(options.get("top_k", 1) + n_biases, 60)
    for _ in range(100):
        logits = rng.integers(-6, 6, 60).astype(np.float32)
        order = np.argsort(-logits, kind="stable")[: part.enough]
        top = list(zip(order.tolist(), logits[order].tolist(), strict=True))
        assert part.sample_top(top) == whole.sample(logits, [])


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1.1},
        {"logit_bias": {3: 1.0, 4: -1.0}},
        {"logit_bias": {3: -1.0}, "presence_penalty": 0.5},
    ],
)
def test_all_logits_are_needed_where_they_are_shifted(options):
    assert Sampler(SamplingParams(top_k=5, temperature=1.0, **options), 60).enough == 0
    assert Sampler(SamplingParams(temperature=1.0), 60).enough == 0


def test_bans_of_all_that_the_largest_logits_leave_are_told_as_those_of_all_logits_are():
    params = SamplingParams(logit_bias={1: -math.inf, 2: -math.inf})
    logits = np.array([-np.inf, 4, 3, -np.inf], np.float32)
    with pytest.raises(SamplingError) as whole:
        Sampler(params, 4).sample(logits, [])
    with pytest.raises(SamplingError) as part:
        Sampler(params, 4).sample_top([(1, 4.0), (2, 3.0), (0, -math.inf)])
    assert str(part.value) == str(whole.value)
    assert "bans every token" in str(whole.value)


@pytest.mark.parametrize(
    ("logit", "message"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "no token is possible")]
)
def test_largest_logits_that_are_no_numbers_are_refused(logit, message):
    top = [(4, logit)]
    with pytest.raises(SamplingError, match=message):
        Sampler(SamplingParams(), 60).sample_top(top)
