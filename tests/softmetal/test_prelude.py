"""metal_stdlib on the CPU: functions, vectors, constants and atomics against NumPy."""

from functools import cache

import numpy as np
import pytest
from planted import needs_clang

from softmetal.msl import Library

pytestmark = needs_clang

HEAD = "#include <metal_stdlib>\nusing namespace metal;\n"
X = np.array([-7.75, -2.5, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 3.7, 60.0], np.float32)
POSITIVE = np.abs(X) + np.float32(0.125)
UNIT = X / np.float32(64)

# Name, NumPy's function of float64, inputs. All are correct to two units in the last place, which
# is what libm promises; roundings are exact.
FLOAT = {
    "exp": (np.exp, X), "exp2": (np.exp2, X), "exp10": (lambda x: 10.0**x, UNIT),
    "log": (np.log, POSITIVE), "log2": (np.log2, POSITIVE), "log10": (np.log10, POSITIVE),
    "sin": (np.sin, X), "cos": (np.cos, X), "tan": (np.tan, UNIT), "asin": (np.arcsin, UNIT),
    "acos": (np.arccos, UNIT), "atan": (np.arctan, X), "sinh": (np.sinh, X), "cosh": (np.cosh, X),
    "tanh": (np.tanh, X), "asinh": (np.arcsinh, X), "atanh": (np.arctanh, UNIT),
    "sinpi": (lambda x: np.sin(np.pi * x), UNIT), "cospi": (lambda x: np.cos(np.pi * x), UNIT),
    "sqrt": (np.sqrt, POSITIVE), "rsqrt": (lambda x: 1 / np.sqrt(x), POSITIVE),
    "fabs": (np.abs, X), "abs": (np.abs, X), "floor": (np.floor, X), "ceil": (np.ceil, X),
    "trunc": (np.trunc, X), "rint": (np.rint, X), "sign": (np.sign, X),
    "fract": (lambda x: x % 1, X),
    "saturate": (lambda x: np.clip(x, 0, 1), X), "precise::exp": (np.exp, X),
    "fast::log": (np.log, POSITIVE),
}  # fmt: skip


@cache
def unary() -> Library:
    """Each function as a kernel of scalars and as one of vectors."""
    text = HEAD
    for name in FLOAT:
        for kind, size in (("float", 1), ("float4", 4)):
            own = f"{name.replace('::', '_')}_{size}"
            text += f"""[[host_name("{own}")]] kernel void k_{own}(device {kind} *y [[buffer(0)]],
                device const {kind} *x [[buffer(1)]], uint i [[thread_position_in_grid]])
                {{ y[i] = {name}(x[i]); }}\n"""
    return Library(text)


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("name", FLOAT)
def test_function_of_floats(name: str, size: int) -> None:
    function, x = FLOAT[name]
    y = np.zeros_like(x)
    unary().run(f"{name.replace('::', '_')}_{size}", {0: y, 1: x}, 1, len(x) // size)
    wanted = function(x.astype(np.float64))
    assert (np.abs(y - wanted) <= 2 * np.spacing(np.abs(wanted).astype(np.float32))).all()


@pytest.mark.parametrize("position", [0.5, 1.0, 1234.25, 2.0**23 + 1, 2.0**24])
def test_sinpi_of_many_turns(position: float) -> None:
    text = (
        HEAD + "kernel void k(device float2 *y [[buffer(0)]]) "
        "{ y[0] = float2(sinpi(y[0].x), cospi(y[0].x)); }"
    )
    y = np.array([position, 0], np.float32)
    Library(text).run("k", {0: y}, 1, 1)
    turn = np.pi * (position % 2)
    assert np.allclose(y, [np.sin(turn), np.cos(turn)], rtol=0, atol=2**-24)


def evaluate(kind: str, expressions: list[str], dtype: type) -> np.ndarray:
    """Scalar expressions of one type."""
    y = np.zeros(len(expressions), dtype)
    body = "".join(f"y[{i}] = {expression};\n" for i, expression in enumerate(expressions))
    Library(f"{HEAD}kernel void k(device {kind} *y [[buffer(0)]]) {{ {body} }}").run(
        "k", {0: y}, 1, 1
    )
    return y


def test_functions_of_integers() -> None:
    expressions = {
        "popcount(0xF0F0u)": 8, "clz(1u)": 31, "clz(0u)": 32, "ctz(8u)": 3, "ctz(0u)": 32,
        "reverse_bits(1u)": 1 << 31,
        "rotate(0x80000001u, 1u)": 3, "extract_bits(0xABCDu, 4, 8)": 0xBC,
        "mulhi(0x80000000u, 6u)": 3, "mad24(3u, 4u, 5u)": 17, "absdiff(3u, 9u)": 6,
        "min(3u, 9u)": 3,
        "max3(3u, 9u, 5u)": 9, "clamp(12u, 3u, 9u)": 9, "abs(-5)": 5, "select(1u, 2u, true)": 2,
        "as_type<uint>(1.0f)": 0x3F800000, "as_type<uint>(half2(1.0h, -2.0h))": 0xC0003C00,
        "uint(half(65504.0))": 65504, "numeric_limits<ushort>::max()": 65535,
        "sizeof(packed_float3)": 12,
        "sizeof(float3)": 16, "alignof(packed_float4)": 4, "alignof(packed_half2)": 2,
        "sizeof(half4)": 8,
        "uint(isnan(NAN)) + 2 * uint(isinf(-INFINITY)) + 4 * uint(isfinite(1.0f))": 7,
        "popcount(uchar(0xFF)) + clz(ushort(1))": 23, "add_sat(0xFFFFFFF0u, 20u)": 0xFFFFFFFF,
        "uint(any(float2(1, 2) < float2(0, 3))) + 2 * uint(all(int2(1, 0) == int2(1, 1)))": 1,
    }  # fmt: skip
    assert evaluate("uint", list(expressions), np.uint32).tolist() == list(expressions.values())


def test_vectors() -> None:
    expressions = {
        "float4(1, float2(2, 3), 4).wzyx.y": 3, "float4(7).z": 7, "float3(int3(1, -2, 3)).y": -2,
        "dot(float4(1, 2, 3, 4), float4(1))": 10, "length(float2(3, 4))": 5,
        "float2(half2(0.5h)).x": 0.5,
        "select(float2(1, 2), float2(3, 4), bool2(true, false)).x": 3,
        "mix(2.0f, 4.0f, 0.25f)": 2.5,
        "step(1.0f, 2.0f)": 1, "fma(2.0f, 3.0f, 4.0f)": 10, "fmod(7.5f, 2.0f)": 1.5,
        "pow(2.0f, 10.0f)": 1024,
        "atan2(1.0f, 1.0f) * 4 / M_PI_F": 1, "ldexp(1.5f, 3)": 12, "copysign(2.0f, -1.0f)": -2,
        "clamp(float2(-1, 5), float2(0), float2(1)).y": 1, "1.0 / 4": 0.25,
        "vec<float, 2>(1, 2).y": 2,
        "float(half(2049.0f))": 2048, "float(half(1) / half(3)) * 3": 0.999755859375,
    }  # fmt: skip
    assert evaluate("float", list(expressions), np.float32).tolist() == list(expressions.values())


def test_halves_are_rounded_after_each_operation() -> None:
    """2048 + 1 + 1 is 2048 in half precision, 2050 in single."""
    assert evaluate("float", ["float(half(2048) + 1.0h + 1.0h)"], np.float32)[0] == 2048


def test_contraction_is_what_the_text_says() -> None:
    """(1 + 2^-12)^2 - 1 keeps its last bit only if product and sum are one operation."""
    text = """kernel void {name}(device float *y [[buffer(0)]])
        {{ {pragma}
           float x = y[0]; y[0] = x * x - (1 + 0x1p-11f); }}"""
    off = "#pragma METAL fp contract(off)\n"
    for name, pragma, wanted in (("on", "\n", 2.0**-24), ("off", "\n" + off, 0.0)):
        y = np.array([1 + 2.0**-12], np.float32)
        Library(HEAD + text.format(name=name, pragma=pragma)).run(name, {0: y}, 1, 1)
        assert y[0] == wanted


def test_function_constants_of_every_type() -> None:
    kinds = ["bool", "int", "uint", "short", "ushort", "uchar", "float", "half"]
    text = HEAD + "".join(
        f"constant {k} C_{k} [[function_constant({i})]];\n" for i, k in enumerate(kinds)
    )
    text += "constant int ABSENT [[function_constant(9)]];\n"
    stores = "".join(f"y[{i}] = float(C_{kind});\n" for i, kind in enumerate(kinds))
    text += f"""kernel void k(device float *y [[buffer(0)]])
        {{ {stores} y[8] = is_function_constant_defined(ABSENT) ? float(ABSENT) : -1.0f; }}"""
    values = [1, -7, 4000000000 - (1 << 32), -300, 65535, 255, 2.5, 0.5]
    y = np.zeros(9, np.float32)
    library = Library(text)
    library.run("k", {0: y}, 1, 1, constants=dict(enumerate(values)))
    assert y.tolist() == [1, -7, 4e9, -300, 65535, 255, 2.5, 0.5, -1]
    library.run("k", {0: y}, 1, 1, constants={**dict(enumerate(values)), "ABSENT": 3})
    assert y[8] == 3


def test_threadgroups_in_parallel_count_together() -> None:
    text = (
        HEAD
        + """kernel void k(device atomic_uint *n [[buffer(0)]],
        device atomic_float *sum [[buffer(1)]],
        device atomic_int *most [[buffer(2)]], uint i [[thread_position_in_grid]])
        { atomic_fetch_add_explicit(n, 1, memory_order_relaxed);
          atomic_fetch_add_explicit(sum, 0.5f, memory_order_relaxed);
          atomic_fetch_max_explicit(most, (int)i, memory_order_relaxed); }"""
    )
    n, total, most = np.zeros(1, np.uint32), np.zeros(1, np.float32), np.zeros(1, np.int32)
    Library(text).run("k", {0: n, 1: total, 2: most}, 300, 64, workers=2)
    assert (n[0], total[0], most[0]) == (19200, 9600, 19199)
