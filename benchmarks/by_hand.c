// A step of training as an expert writes it by hand: one pass over tiles of 256 examples, forward and backward, with no
// array of the length of the data but the data. What is defined before this text: the vectors and functions of
// tinygrad_dls/compiler/native/vectors.py; the numbers of features NX, of hidden units NH and of examples M.
// W1 (NH, NX), b1 (NH), W2 (NH), b2 (1) are updated in place; without hidden units, W2 (NX), b2 (1) are all. Returned is
// the cost before the update.
#define TILE 256
#define UNITS 4  // hidden units that are computed together, and features that gradients are summed for together
typedef struct { F *W1, *b1, *W2, *b2; } Parameters;

// Columns that are left over are filled with zeros, and their derivative dZ is set to zero.
static F filled[(NX + 1) * TILE] ALIGNED;
static const F *columns(const F *x, long rows, long from, long n, F *to, long *step) {
  *step = M;
  if (n == TILE) return x + from;
  *step = TILE;
  memset(to, 0, rows * TILE * sizeof(F));
  for (long i = 0; i < rows; i++) memcpy(to + i * TILE, x + i * M + from, n * sizeof(F));
  return to;
}

// The cost of a vector of logits, and dZ; both 0 behind the first n.
INLINE V loss(V z, V y, long n, V *dz) {
  V e = exp_(-magnitude(z)), J = largest(z, all(0)) - y * z + log1p_(e);
  *dz = sigmoid_of(z, e) - y;
  if (n < L) { int k = n < 0 ? 0 : (int)n; J = first(J, k); *dz = first(*dz, k); }
  return J;
}

#if NH
double step(Parameters *p, const F *X, const F *Y, double rate) {
  static F A[NH * TILE] ALIGNED, D[TILE] ALIGNED, DZ[NH * TILE] ALIGNED;
  static double dW1[NH * NX], db1[NH], dW2[NH];
  double J = 0, db2 = 0;
  memset(dW1, 0, sizeof dW1); memset(db1, 0, sizeof db1); memset(dW2, 0, sizeof dW2);
  for (long from = 0; from < M; from += TILE) {
    long n = M - from < TILE ? M - from : TILE, end = (n + L - 1) / L * L, xs, ys;
    const F *x = columns(X, NX, from, n, filled, &xs), *y = columns(Y, 1, from, n, filled + NX * TILE, &ys);
    for (long i = 0; i < NH; i += UNITS)
      for (long j = 0; j < end; j += L) {
        V z[UNITS];
        for (int u = 0; u < UNITS; u++) z[u] = all(p->b1[i + u]);
        for (long k = 0; k < NX; k++) {
          V v = load(x + k * xs + j);
          for (int u = 0; u < UNITS; u++) z[u] += p->W1[(i + u) * NX + k] * v;
        }
        for (int u = 0; u < UNITS; u++) store(A + (i + u) * TILE + j, tanh_(z[u]));
      }
    V costs = {}, sums = {};
    for (long j = 0; j < end; j += L) {
      V z = all(*p->b2), d;
      for (long i = 0; i < NH; i++) z += p->W2[i] * load(A + i * TILE + j);
      costs += loss(z, load(y + j), n - j, &d);
      sums += d;
      store(D + j, d);
    }
    J += total(costs); db2 += total(sums);
    for (long i = 0; i < NH; i += UNITS) {
      V s[UNITS] = {}, b[UNITS] = {};
      for (long j = 0; j < end; j += L) {
        V d = load(D + j);
        for (int u = 0; u < UNITS; u++) {
          V a = load(A + (i + u) * TILE + j), dz = p->W2[i + u] * d * (1 - a * a);
          s[u] += d * a; b[u] += dz;
          store(DZ + (i + u) * TILE + j, dz);
        }
      }
      for (int u = 0; u < UNITS; u++) { dW2[i + u] += total(s[u]); db1[i + u] += total(b[u]); }
      long k = 0;
      for (; k + UNITS <= NX; k += UNITS) {
        V g[UNITS][UNITS] = {};
        for (long j = 0; j < end; j += L) {
          V v[UNITS];
          for (int f = 0; f < UNITS; f++) v[f] = load(x + (k + f) * xs + j);
          for (int u = 0; u < UNITS; u++) {
            V dz = load(DZ + (i + u) * TILE + j);
            for (int f = 0; f < UNITS; f++) g[u][f] += dz * v[f];
          }
        }
        for (int u = 0; u < UNITS; u++) for (int f = 0; f < UNITS; f++) dW1[(i + u) * NX + k + f] += total(g[u][f]);
      }
      for (; k < NX; k++) {
        V g[UNITS] = {};
        for (long j = 0; j < end; j += L) {
          V v = load(x + k * xs + j);
          for (int u = 0; u < UNITS; u++) g[u] += load(DZ + (i + u) * TILE + j) * v;
        }
        for (int u = 0; u < UNITS; u++) dW1[(i + u) * NX + k] += total(g[u]);
      }
    }
  }
  F r = (F)(rate / M);
  for (long i = 0; i < NH * NX; i++) p->W1[i] -= r * (F)dW1[i];
  for (long i = 0; i < NH; i++) { p->b1[i] -= r * (F)db1[i]; p->W2[i] -= r * (F)dW2[i]; }
  *p->b2 -= r * (F)db2;
  return J / M;
}
#else
double step(Parameters *p, const F *X, const F *Y, double rate) {
  static F D[TILE] ALIGNED;
  static double dW[NX];
  double J = 0, db = 0;
  memset(dW, 0, sizeof dW);
  for (long from = 0; from < M; from += TILE) {
    long n = M - from < TILE ? M - from : TILE, end = (n + L - 1) / L * L, xs, ys;
    const F *x = columns(X, NX, from, n, filled, &xs), *y = columns(Y, 1, from, n, filled + NX * TILE, &ys);
    V costs = {}, sums = {};
    for (long j = 0; j < end; j += L) {
      V z = all(*p->b2), d;
      for (long k = 0; k < NX; k++) z += p->W2[k] * load(x + k * xs + j);
      costs += loss(z, load(y + j), n - j, &d);
      sums += d;
      store(D + j, d);
    }
    J += total(costs); db += total(sums);
    long k = 0;
    for (; k + 2 * UNITS <= NX; k += 2 * UNITS) {
      V g[2 * UNITS] = {};
      for (long j = 0; j < end; j += L) {
        V d = load(D + j);
        for (int f = 0; f < 2 * UNITS; f++) g[f] += d * load(x + (k + f) * xs + j);
      }
      for (int f = 0; f < 2 * UNITS; f++) dW[k + f] += total(g[f]);
    }
    for (; k < NX; k++) {
      V g = {};
      for (long j = 0; j < end; j += L) g += load(D + j) * load(x + k * xs + j);
      dW[k] += total(g);
    }
  }
  F r = (F)(rate / M);
  for (long k = 0; k < NX; k++) p->W2[k] -= r * (F)dW[k];
  *p->b2 -= r * (F)db;
  return J / M;
}
#endif
