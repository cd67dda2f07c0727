from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.quantizer.codes import MAX_BITS, MAX_WIDTH, Codes, pack, unpack

WIDTHS = range(1, MAX_BITS + 1)

# three bits stand for -7, -5, … 7, so that the weights are 7/4, -1 · 2 and 3/2, and the intercept
# is 13/8
CODES = Codes(3, np.array([7, 3, 5]), np.array([2, -1, 1]), 13, 3)
BITS = [
    "0010",  # n - 1
    "0010",  # exponents differ by 3, which has two bits
    "0" + "00001",  # the least one is -1: 2 · 1 - 1
    "0" + "01000",  # the intercept's, 3 - (-1), is 2 · 4
    "111" + "11",  # code 7, and 2 - (-1)
    "011" + "00",  # code 3
    "101" + "10",  # code 5, and 1 - (-1)
    "01101",  # 13, and with these the bits are 40
]
PAYLOAD = int("".join(BITS), 2).to_bytes(5)


def values(codes: Codes) -> tuple[list[Fraction], Fraction]:
    """Return weights and intercept by the definition in the docstring, in rationals."""
    top = 2**codes.bits - 1
    pairs = zip(codes.codes.tolist(), codes.exponents.tolist(), strict=True)
    weights = [(2 * code - top) * Fraction(2) ** -exponent for code, exponent in pairs]
    return weights, codes.intercept * Fraction(2) ** -codes.intercept_exponent


def fields(codes: Codes) -> tuple[object, ...]:
    arrays = codes.codes.tolist(), codes.exponents.tolist()
    return codes.bits, *arrays, codes.intercept, codes.intercept_exponent


@st.composite
def models(draw: st.DrawFn, largest: int = 950) -> Codes:
    bits, n = draw(st.integers(1, MAX_BITS)), draw(st.integers(1, 6))
    codes = draw(st.lists(st.integers(0, 2**bits - 1), min_size=n, max_size=n))
    least = draw(st.integers(-largest, largest))
    highest = draw(st.integers(least, largest))
    exponents = draw(st.lists(st.integers(least, highest), min_size=n, max_size=n))
    intercept = draw(st.just(0) | st.integers(-(2**60), 2**60))
    exponent = draw(st.integers(-largest, largest))
    return Codes(bits, np.array(codes), np.array(exponents), intercept, exponent)


def test_a_payload_is_these_bits_by_hand() -> None:
    assert pack(CODES) == PAYLOAD
    assert fields(unpack(PAYLOAD, 3)) == fields(CODES)


def test_one_bit_and_one_feature_take_four_bytes() -> None:
    # 0000 0000, the least exponent 0 and the intercept's 16 levels on: 32 in two groups of five
    # bits; the code; -1 in two's complement, as wide as the byte
    bits = "00000000000000100000000001111111"
    codes = Codes(1, np.array([1]), np.array([0]), -1, 16)
    assert pack(codes) == int(bits, 2).to_bytes(4)
    assert fields(unpack(pack(codes), 1)) == fields(codes)
    assert values(codes) == ([Fraction(1)], Fraction(-1, 65536))


@given(models())
@example(Codes(1, np.array([0]), np.array([0]), 0, 0))
@example(Codes(16, np.array([0, 65535]), np.array([-950, 950]), -(2**62), 950))
@example(Codes(2, np.array([1]), np.array([950]), -1, -950))
@example(Codes(2, np.array([1]), np.array([950]), -128, 0))
@example(Codes(2, np.array([1]), np.array([950]), 127, 0))
def test_a_model_comes_back_from_its_payload(codes: Codes) -> None:
    payload = pack(codes)
    assert fields(unpack(payload, len(codes.codes))) == fields(codes)


@given(models())
def test_a_payload_has_the_bits_that_the_layout_counts(codes: Codes) -> None:
    def grouped(x: int) -> int:
        zigzag = 2 * x if x >= 0 else -2 * x - 1
        return next(6 * k for k in range(1, 9) if zigzag < 32**k)

    least, spread = min(codes.exponents.tolist()), int(np.ptp(codes.exponents))
    width = next(w for w in range(20) if spread < 2**w)
    head = 8 + grouped(least) + grouped(codes.intercept_exponent - least)
    head += len(codes.codes) * (codes.bits + width)
    # the narrowest two's complement that holds the intercept
    needed = next(k for k in range(1, 99) if -(2 ** (k - 1)) <= codes.intercept < 2 ** (k - 1))
    assert len(pack(codes)) == -(-(head + needed) // 8)


@given(models())
def test_codes_stand_for_odd_numbers_times_powers_of_two(codes: Codes) -> None:
    weights, intercept = values(codes)
    assert [Fraction(weight) for weight in codes.model.coef.tolist()] == weights
    assert codes.model.intercept == float(intercept)  # one rounding, of its 53 bits
    multipliers = codes.multipliers.tolist()
    assert all(k % 2 == 1 and abs(k) < 2**codes.bits for k in multipliers)
    pairs = zip(weights, codes.exponents.tolist(), strict=True)
    assert multipliers == [weight * Fraction(2) ** exponent for weight, exponent in pairs]


@pytest.mark.parametrize("bits", WIDTHS)
def test_codes_of_every_width_are_all_odd_numbers_around_the_zero_point(bits: int) -> None:
    every = np.arange(2**bits)
    codes = Codes(bits, every, np.zeros(2**bits, np.int64), 0, 0)
    assert codes.multipliers.tolist() == list(range(1 - 2**bits, 2**bits, 2))
    assert codes.zero_point == (every[0] + every[-1]) / 2
    # scale · (code - zero_point), with the scale 2^(1 - exponent)
    assert (2.0 * (every - codes.zero_point) == codes.model.coef).all()


@pytest.mark.parametrize("bits", WIDTHS)
def test_every_width_comes_back_at_both_ends(bits: int) -> None:
    codes = Codes(bits, np.array([0, 2**bits - 1]), np.array([5, -5]), -1, 0)
    assert fields(unpack(pack(codes), 2)) == fields(codes)


def is_a_model_or_refused(payload: bytes, n_features: int) -> bool:
    try:
        found = unpack(payload, n_features)
    except ValueError:
        return False
    assert pack(found) == payload
    assert np.isfinite([*found.model.coef, found.model.intercept]).all()
    return True


@given(st.binary(max_size=40), st.integers(1, 8))
@example(b"", 1)
@example(b"\x00", 1)
@example(b"\xff" * 40, 1)
@example(b"\x00" * 40, 1)
def test_any_bytes_are_a_model_or_refused(payload: bytes, n_features: int) -> None:
    is_a_model_or_refused(payload, n_features)


@given(st.binary(min_size=4, max_size=12), st.integers(1, 2))
def test_bytes_that_begin_well_are_a_model_or_refused(payload: bytes, n_features: int) -> None:
    # 2 bits, exponents of one bit, one group for each of the two
    head = bytes([0x11, payload[0] & 0x7F, payload[1] & 0xDF])
    is_a_model_or_refused(head + payload[2:], n_features)


@pytest.mark.parametrize("size", [2_000, 20_000])
@pytest.mark.parametrize("byte", [0x00, 0x55, 0x7F, 0xAA, 0xFF])
def test_long_payloads_are_models_or_refused(size: int, byte: int) -> None:
    is_a_model_or_refused(bytes([byte]) * size, 1)
    is_a_model_or_refused(bytes([0, byte]) * (size // 2), 1)


def test_an_intercept_beyond_doubles_is_refused() -> None:
    codes = Codes(1, np.array([0]), np.array([0]), 2**1100, 0)
    with pytest.raises(ValueError, match="too large"):
        unpack(pack(codes), 1)
    with pytest.raises(ValueError, match="too large"):
        unpack(pack(Codes(1, np.array([0]), np.array([0]), 1, -1024)), 1)
    # also a weight
    with pytest.raises(ValueError, match="too large"):
        unpack(pack(Codes(1, np.array([0]), np.array([-1024]), 1, 0)), 1)


@settings(max_examples=25)
@given(models(largest=40))
@example(CODES)
def test_every_truncation_and_every_flipped_bit_is_a_model_or_refused(codes: Codes) -> None:
    payload, n = pack(codes), len(codes.codes)
    for size in range(len(payload)):
        is_a_model_or_refused(payload[:size], n)
    for bit in range(8 * len(payload)):
        flipped = (int.from_bytes(payload) ^ 1 << bit).to_bytes(len(payload))
        if is_a_model_or_refused(flipped, n):
            assert fields(unpack(flipped, n)) != fields(codes)


def test_what_is_not_the_shortest_payload_is_refused() -> None:
    *head, tail = BITS
    for bits in (
        [*head, "0000000" + "0" + tail],  # a byte more than the intercept needs
        [BITS[0], "0011", *BITS[2:4], "111011", "011000", "101010", "01"],  # a wider exponent
        [*BITS[:2], "100001" + "000000", *BITS[3:7], "0000001101"],  # a group of zeros
        [*BITS[:4], "11110", "01101", "10101", "01101"],  # no exponent is the least
    ):
        text = "".join(bits)
        text += "0" * (-len(text) % 8)
        with pytest.raises(ValueError, match="shortest"):
            unpack(int(text, 2).to_bytes(len(text) // 8), 3)


def test_other_versions_short_payloads_and_long_exponents_are_named() -> None:
    with pytest.raises(ValueError, match="unknown version"):
        unpack(bytes([0x0F]) + bytes(20), 1)
    for payload in (b"", b"\x00", PAYLOAD[:-1]):
        with pytest.raises(ValueError, match="too short"):
            unpack(payload, 3)
    with pytest.raises(ValueError, match="exponent"):
        unpack(b"\x00" + b"\xff" * 20, 1)


def test_a_payload_of_fewer_features_is_another_model_or_refused() -> None:
    with pytest.raises(ValueError, match="too short"):
        unpack(PAYLOAD, 4)
    is_a_model_or_refused(PAYLOAD, 2)


def test_exponents_that_differ_too_much_are_refused() -> None:
    widest = Codes(1, np.array([0, 1]), np.array([0, 2**MAX_WIDTH - 1]), 0, 0)
    assert len(pack(widest)) > 0
    wider = Codes(1, np.array([0, 1]), np.array([0, 2**MAX_WIDTH]), 0, 0)
    with pytest.raises(ValueError, match=str(2**MAX_WIDTH)):
        pack(wider)
