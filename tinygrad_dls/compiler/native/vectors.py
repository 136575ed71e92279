"""Vectors of C: their types, and exp, log, log1p and tanh of them as polynomials, within 2 units in the last place.

Everything is written with the vector extensions that GCC and Clang share, so that it is the same for every processor:
a vector is as wide as the widest registers that the compiler is told of. There is no branch, so that infinities, NaN
and subnormal numbers take as long as all others.

How each is computed: ``exp(x) = 2^k exp(r)`` with ``|r| <= log(2)/2``; ``log(x) = k log(2) + log(f)`` with f between
``sqrt(1/2)`` and ``sqrt(2)``, by the series of ``log((1 + s) / (1 - s))``; log1p adds what the sum 1 + x has lost;
``tanh(x) = t / (t + 2)`` with ``t = exp(2x) - 1``. The coefficients interpolate at Chebyshev's points; a test
computes them anew.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["EXP", "LOG", "header"]

# Of (e^r - 1 - r) / r^2, and of (log((1 + s) / (1 - s)) / s - 2) / s^2 as a polynomial of s^2, from the constant on.
EXP = {
    "f": (0.5, 0.16666667, 0.041666456, 0.0083333105, 0.0013934541, 0.0001989198),
    "d": (
        0.5000000000000001, 0.16666666666666669, 0.04166666666662064, 0.008333333333329793, 0.0013888888918939168,
        0.00019841269864380513, 2.4801518641395993e-05, 2.75572664186123e-06, 2.7621338669142925e-07,
        2.510134692835034e-08,
    ),
}  # fmt: skip
LOG = {
    "f": (0.66666687, 0.39988318, 0.29600796),
    "d": (
        0.666666666666667, 0.39999999999886543, 0.28571428631794477, 0.22222210194440617, 0.1818295695260341,
        0.15329489526681614, 0.14643764652931354,
    ),
}  # fmt: skip

# By the type's character: C's name of numbers, of integers as wide, and of such without a sign; bits of the fraction;
# the bias of the exponent; log(2) as a short number, whose multiples by an exponent are exact, and the rest; what exp
# and tanh need not tell apart from larger arguments.
_TYPES: dict[str, dict[str, Any]] = {
    "f": {
        "F": "float", "N": "int", "M": "unsigned", "bits": 23, "bias": 127, "hi": "0x1.62e4p-1f",
        "lo": "0x1.7f7d1cp-20f", "low": "-105.0f", "high": "90.0f", "flat": "10.0f", "f": "f", "sum": "V", "fold": "",
    },
    "d": {
        "F": "double", "N": "long long", "M": "unsigned long long", "bits": 52, "bias": 1023, "hi": "0x1.62e42fefa3p-1",
        "lo": "0x1.3de6af278ece6p-42", "low": "-750.0", "high": "710.0", "flat": "20.0", "f": "", "sum": "double",
        "fold": "total",
    },
}  # fmt: skip

_HEADER = """\
#include <stddef.h>
#include <string.h>
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define L (BYTES / (int)sizeof(F))
#define INLINE static inline __attribute__((always_inline))
typedef {F} F;
typedef ptrdiff_t Size;  // of arrays, and what is computed of it: C's long has 32 bits on some platforms
typedef {N} N;
typedef F V __attribute__((vector_size(BYTES)));
typedef N I __attribute__((vector_size(BYTES)));
typedef {M} W __attribute__((vector_size(BYTES)));
typedef F H __attribute__((vector_size(BYTES / 2)));
typedef double D __attribute__((vector_size(4 * L)));
typedef F U __attribute__((vector_size(BYTES), aligned(sizeof(F)), may_alias));
#define ALIGNED __attribute__((aligned(64)))
#define BIAS {bias}
#define BITS {bits}
#define HUGE_ ((F)__builtin_inf())
#define MAGIC ((F)(1.5 * (1LL << BITS)))

typedef struct {{ char head[{head}]; char *data; int axes; __INTPTR_TYPE__ *lengths, *strides; }} Array;  // NumPy's

INLINE V all(F x) {{ return x - (V){{}}; }}
INLINE V load(const F *p) {{ return *(const U *)p; }}
INLINE void store(F *p, V x) {{ *(U *)p = x; }}
INLINE V choose(I mask, V x, V y) {{ return (V)((mask & (I)x) | (~mask & (I)y)); }}
INLINE V one_if(I mask) {{ return (V)(mask & (I)all(1)); }}
INLINE I is_nan(V x) {{ return x != x; }}
INLINE V magnitude(V x) {{ return (V)((I)x & ~(I)all(-(F)0)); }}
INLINE V with_sign(V x, V y) {{ I s = (I)all(-(F)0); return (V)(((I)x & ~s) | ((I)y & s)); }}
INLINE V largest(V x, V y) {{ return choose((x > y) | is_nan(x), x, y); }}
INLINE V smallest(V x, V y) {{ return choose((x < y) | is_nan(x), x, y); }}
INLINE V root(V x) {{ for (int i = 0; i < L; i++) x[i] = __builtin_sqrt{f}(x[i]); return x; }}
INLINE V first(V x, int n) {{  // and zeros behind the first n
  if (n >= L) return x;
  I places; for (int i = 0; i < L; i++) places[i] = i;
  return (V)((I)x & (places < (N)n));
}}
INLINE V part(const F *p, int n) {{ V x = {{}}; memcpy(&x, p, n * sizeof(F)); return x; }}
INLINE void store_part(F *p, V x, int n) {{ memcpy(p, &x, n * sizeof(F)); }}
INLINE V spread(const F *p, Size step, int n) {{
  V x = {{}}; for (int i = 0; i < n; i++) x[i] = p[i * step]; return x;
}}
INLINE void scatter(F *p, Size step, V x, int n) {{ for (int i = 0; i < n; i++) p[i * step] = x[i]; }}
INLINE double total(V x) {{
  double s[L]; for (int i = 0; i < L; i++) s[i] = x[i];
  for (int k = L / 2; k; k /= 2) for (int i = 0; i < k; i++) s[i] += s[i + k];
  return s[0];
}}
static __attribute__((noinline)) void add_totals(double *t, const V *x, Size n) {{
  for (Size i = 0; i < n; i++) {{  // by halves of vectors, in the same order: one after another, these are faster
    H one, other; memcpy(&one, x + i, sizeof one); memcpy(&other, (const char *)(x + i) + sizeof one, sizeof other);
    D s = __builtin_convertvector(one, D) + __builtin_convertvector(other, D);
    for (int k = L / 4; k; k /= 2) for (int j = 0; j < k; j++) s[j] += s[j + k];
    t[i] += s[0];
  }}
}}
INLINE I mask_from(const unsigned char *p, Size step, int n) {{
  I x = {{}}; for (int i = 0; i < n; i++) x[i] = p[i * step] ? -1 : 0; return x;
}}
INLINE void mask_to(unsigned char *p, Size step, I x, int n) {{ for (int i = 0; i < n; i++) p[i * step] = x[i] != 0; }}

#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
INLINE V missing(V a, V q, V b) {{ return a - q * b; }}  // exactly: it is one operation
#else
INLINE V upper(V x) {{ return (V)((I)x & ~(((N)1 << (BITS / 2 + 1)) - 1)); }}
INLINE V missing(V a, V q, V b) {{  // by halves of the digits, whose products are exact
  V q1 = upper(q), b1 = upper(b), q2 = q - q1, b2 = b - b1;
  return ((a - q1 * b1) - q1 * b2 - q2 * b1) - q2 * b2;
}}
#endif

INLINE V power_of_2(I k) {{ return (V)((k + BIAS) << BITS); }}
INLINE V times_power_of_2(V x, I k) {{  // in two steps: the power alone may be too large, or too small
  I half = (I)((W)(k + 4096) >> 1) - 2048;
  return x * power_of_2(half) * power_of_2(k - half);
}}
INLINE V multiples(V x, I *k) {{  // of log(2) that are nearest to x
  V t = x * (F)1.4426950408889634 + MAGIC;
  *k = (I)t - (I)all(MAGIC);
  return t - MAGIC;
}}
INLINE V beyond_r(V r) {{  // exp(r) - 1 - r, of |r| <= log(2) / 2
  return r * r * ({exp});
}}
INLINE V exp_(V x) {{
  x = choose(x > {high}, all({high}), x);
  x = choose(x < {low}, all({low}), x);
  I k; V n = multiples(x, &k), high = x - n * {hi}, r = high - n * {lo}, s = 1 + r;
  V rest = (r - (s - 1)) + (high - r - n * {lo});  // what s and r have lost
  return times_power_of_2(s + (beyond_r(r) + rest), k);
}}
INLINE V tanh_(V x) {{
  V y = magnitude(x);
  y = 2 * choose(y > {flat}, all({flat}), y);
  I k; V n = multiples(y, &k), high = y - n * {hi}, r = high - n * {lo}, p = power_of_2(k);
  V rest = high - r - n * {lo};  // what r has lost
  V t = (p * r + (p - 1)) + p * (beyond_r(r) + rest);
  V below = t + 2, one = 1 / below, q = t * one;
  q = q + (missing(t, q, below) - q * (t - (below - 2))) * one;  // what the quotient and the sum below have lost
  return with_sign(q, x);
}}
INLINE V sigmoid_of(V x, V e) {{  // with e = exp(-|x|)
  V below = 1 + e, one = 1 / below, above = choose(x < 0, e, all(1)), q = above * one;
  return q + (missing(above, q, below) - q * (e - (below - 1))) * one;
}}
INLINE V log_of(V x, V lost) {{  // log(x + lost), for positive numbers; what was lost of x is small
  I tiny = x < (F){smallest};
  x = choose(tiny, x * (F){scale}, x);
  I from = (I)all({root_of_half});
  I k = (I)((W)((I)x - from + ((N)BIAS << BITS)) >> BITS) - BIAS;
  V g = (V)((I)x - (k << BITS)) - 1;
  V n = (V)(k + (I)all(MAGIC)) - MAGIC - (V)(tiny & (I)all({steps}));
  V s = g / (2 + g), z = s * s, h = g * g * (F)0.5;
  V more = lost * power_of_2(-(k & (k < 99) & (k > -99))) * (1 - g + g * g);  // lost / x, of which few digits count
  return n * {hi} - ((h - (s * (h + z * ({log})) + (n * {lo} + more))) - g);
}}
INLINE V limits_of_log(V x, V r) {{
  r = choose(x < 0, all((F)__builtin_nan("")), r);
  r = choose(x == 0, all(-HUGE_), r);
  return choose((x == HUGE_) | is_nan(x), x, r);
}}
INLINE V log_(V x) {{ return limits_of_log(x, log_of(x, (V){{}})); }}
INLINE V log1p_(V x) {{ V u = 1 + x; return with_sign(limits_of_log(u, log_of(u, x - (u - 1))), x); }}
"""


_PLAIN = """
#define COPY(type) {{ type y; memcpy(&y, at, sizeof y); x[r * columns + c] = (F)y; break; }}
void look(const Array *a, long long *seen) {{  // for the test that arrays are laid out as declared
  seen[0] = (long long)a->data; seen[1] = a->axes; seen[2] = a->lengths[1];
  seen[3] = a->strides[1]; seen[4] = a->strides[2];
}}
static const F *plain(const Array *a, char type, Size rows, Size columns, F *x, Size *step,
                      int copy) {{
  // the entries of an array, as numbers of our type that lie side by side in rows; or a copy of them, made now
  Size down = a->axes > 1 ? a->strides[0] : 0, across = a->axes ? a->strides[a->axes - 1] : 0;
  *step = rows > 1 ? down / (Size)sizeof(F) : 0;
  if (type == '{char}' && (columns == 1 || across == sizeof(F)) && (rows == 1 || down % (Size)sizeof(F) == 0))
    return (const F *)a->data;
  *step = columns;
  for (Size r = 0; copy && r < rows; r++)
    for (Size c = 0; c < columns; c++) {{
      const char *at = a->data + r * down + c * across;
      switch (type) {{
        case '?': case 'B': COPY(unsigned char)
        case 'b': COPY(signed char)
        case 'h': COPY(short)
        case 'H': COPY(unsigned short)
        case 'i': COPY(int)
        case 'I': COPY(unsigned)
        case 'l': COPY(long)
        case 'L': COPY(unsigned long)
        case 'q': COPY(long long)
        case 'Q': COPY(unsigned long long)
        case 'f': COPY(float)
        default: COPY(double)
      }}
    }}
  return x;
}}
"""

_LARGE = """
#define WIDE (BYTES == 64 ? 4 : 2)
static void clear(F *x, Size rows, Size step, Size n) {{  // the columns behind the first n, up to a whole vector
  Size k = n % L;
  if (k) for (Size r = 0; r < rows; r++) {{ F *p = x + r * step + n - k; store(p, first(load(p), (int)k)); }}
}}
static const F *padded(const F *x, Size step, Size across, Size rows, Size n, Size wide, F *space, Size *found) {{
  // rows of n columns side by side, followed by zeros where n is no multiple of a few vectors
  if (n % (WIDE * L) == 0 && across == 1) {{ *found = step; return x; }}
  *found = wide;
  for (Size r = 0; r < rows; r++) {{
    for (Size c = 0; c < n; c++) space[r * wide + c] = x[r * step + c * across];
    memset(space + r * wide + n, 0, (wide - n) * sizeof(F));
  }}
  return space;
}}
#define PRODUCT(R)                                                                  \\
  for (Size j = 0; j < n; j += WIDE * L) {{                                          \\
    V s[R][WIDE];                                                                   \\
    for (int i = 0; i < R; i++)                                                     \\
      for (int k = 0; k < WIDE; k++) s[i][k] = bias ? all(bias[(r + i) * wr]) : (V){{}}; \\
    for (Size q = 0; q < inner; q++) {{                                              \\
      V y[WIDE];                                                                    \\
      for (int k = 0; k < WIDE; k++) y[k] = load(a + q * ar + j + k * L);           \\
      for (int i = 0; i < R; i++) {{                                                 \\
        F x = w[(r + i) * wr + q * wc];                                             \\
        for (int k = 0; k < WIDE; k++) s[i][k] += x * y[k];                         \\
      }}                                                                             \\
    }}                                                                               \\
    for (int i = 0; i < R; i++)                                                     \\
      for (int k = 0; k < WIDE; k++) store(z + (r + i) * zr + j + k * L, s[i][k]);  \\
  }}
static void product(F *z, Size zr, const F *w, Size wr, Size wc, const F *bias, const F *a, Size ar, Size rows,
                    Size inner, Size n) {{
  Size r = 0;
  for (; r + 4 <= rows; r += 4) PRODUCT(4)
  for (; r < rows; r++) PRODUCT(1)
}}
#define SUMS(R, K)                                                                  \\
  {{                                                                                 \\
    V s[R][K];                                                                      \\
    memset(s, 0, sizeof s);                                                         \\
    for (Size j = 0; j < n; j += L) {{                                               \\
      V x[R];                                                                       \\
      for (int i = 0; i < R; i++) x[i] = load(a + (r + i) * ar + j);                \\
      for (int k = 0; k < K; k++) {{                                                 \\
        V y = load(b + (q + k) * br + j);                                           \\
        for (int i = 0; i < R; i++) s[i][k] += x[i] * y;                            \\
      }}                                                                             \\
    }}                                                                               \\
    for (int i = 0; i < R; i++) for (int k = 0; k < K; k++) t[(r + i) * wide + q + k] += {fold}(s[i][k]); \\
  }}
static void sums({sum} *t, Size wide, const F *a, Size ar, const F *b, Size br, Size rows, Size inner, int ones,
                 Size n) {{
  Size r = 0, q;
  for (; r + 4 <= rows; r += 4) {{
    for (q = 0; q + 4 <= inner; q += 4) SUMS(4, 4)
    for (; q < inner; q++) SUMS(4, 1)
  }}
  for (; r < rows; r++) {{
    for (q = 0; q + 8 <= inner; q += 8) SUMS(1, 8)
    for (; q < inner; q++) SUMS(1, 1)
  }}
  if (ones)
    for (r = 0; r < rows; r++) {{
      V s = {{}};
      for (Size j = 0; j < n; j += L) s += load(a + r * ar + j);
      t[r * wide + inner] += {fold}(s);
    }}
}}
"""


def header(dtype: Any) -> str:
    """The definitions that all programs of a dtype, float32 or float64, begin with."""
    char = np.dtype(dtype).char
    known, info = _TYPES[char], np.finfo(dtype)
    steps = known["bits"] + 2
    return (_HEADER + _PLAIN + _LARGE).format(
        **known,
        char=char,
        head=object.__basicsize__,
        exp=_estrin("r", EXP[char], char),
        log=_estrin("z", LOG[char], char),
        smallest=float(info.smallest_normal).hex(),
        scale=float(2.0**steps).hex(),
        steps=f"(F){steps}",
        root_of_half=f"(F){float(np.sqrt(0.5)).hex()}",
    )


def _estrin(x: str, coefficients: tuple[float, ...], char: str) -> str:
    """A polynomial as a text: pairs at once, then pairs of these, so that few operations wait for each other."""
    suffix = "f" if char == "f" else ""
    terms = [f"{c!r}{suffix}" for c in coefficients]
    power = x
    while len(terms) > 1:
        pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
        terms = [f"({p[0]} + {power} * {p[1]})" if len(p) == 2 else p[0] for p in pairs]
        power = f"({power} * {power})"
    return terms[0]
