/* Compiled kernels: codes of points, products of codes, numbers below ceilings, and squared
   distances of pairs.

   A code is a point rounded to small integers, one byte a feature. neighbors/codes.py says what
   bounds follow from codes; neighbors/kernels.py checks the arguments, of which nothing is checked
   here. Every function releases the interpreter lock and runs in the calling thread.

   Layout of codes: panels of 16 points. A panel is a sequence of groups of 4 features, and a group
   holds 4 bytes of each of its 16 points, one point after the other. So 64 bytes, one vector, hold
   a group of 16 points, and the 4 bytes of one point can be broadcast. Features are padded with
   zeros to a multiple of 8, points to a multiple of 16.

   The products use the instructions of the processor that multiply bytes: an unsigned byte by a
   signed one. Codes are therefore stored with an offset added, and it is subtracted from one of the
   factors before they are multiplied. The products are corrected by the offset times the sum of that
   factor. Integers are summed without rounding. */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && defined(__x86_64__)
#define HAS_KERNELS 1
#include <cpuid.h>
#include <immintrin.h>
#if defined(__clang__)
#define HAS_AVX_VNNI (__clang_major__ >= 17)
#else
#define HAS_AVX_VNNI (__GNUC__ >= 12)
#endif
#else
#define HAS_KERNELS 0
#endif

#if HAS_KERNELS

#if !defined(__clang__)
#pragma GCC diagnostic ignored "-Wpsabi" /* vectors pass between inlined functions only */
#endif

#define PANEL 16           /* points of a panel */
#define GROUP 64           /* bytes of a group of 4 features of a panel */
#define BLOCK_A 16         /* panels of a block on either side of a product: runs of both fit the cache */
#define BLOCK_B 32
#define RUN 160            /* most groups of features multiplied at a time: even */
#define CHUNK 1024         /* values of a point encoded at a time: the stack of a thread may be small */
#define UNDERFLOW 0x1p-100 /* of a feature: in smaller sums, squares may have lost digits */
#define INLINE static inline __attribute__((always_inline))

enum { NONE, AVX2, AVX_VNNI, AVX512_VNNI };

/* Added to a code: a level without VNNI sums products in 16 bits, and has smaller codes. */
#define OFFSET(processor) ((processor) == AVX2 ? 64 : 128)

typedef float f16 __attribute__((vector_size(64)));
typedef float f8 __attribute__((vector_size(32)));
typedef float f8u __attribute__((vector_size(32), aligned(4)));
typedef double d8 __attribute__((vector_size(64)));
typedef double d8u __attribute__((vector_size(64), aligned(8)));
typedef int32_t i16 __attribute__((vector_size(64)));
typedef uint32_t u16 __attribute__((vector_size(64)));
typedef int32_t word __attribute__((may_alias)); /* 4 codes */

/* Vectors are passed by address: how they are passed by value depends on the instructions. */
INLINE f16 larger(const f16 *a, const f16 *b)
{
    const i16 first = *a > *b;
    return (f16)(((i16)*a & first) | ((i16)*b & ~first));
}

/* The levels that this processor has, one bit for each. */
static int levels_of_processor(void)
{
    int levels = 0;
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 0;
    levels |= 1 << AVX2;
#if HAS_AVX_VNNI
    /* not every Clang that has the instructions has a name for them in __builtin_cpu_supports */
    unsigned a = 0, b, c, d;
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & 1 << 4)) levels |= 1 << AVX_VNNI;
#endif
    if (__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        levels |= 1 << AVX512_VNNI;
    return levels;
}

/* -- codes ------------------------------------------------------------------------------- */

typedef struct {
    const float *values;  /* points of one panel, at most 16 */
    const float *centre;  /* subtracted from each point, or NULL */
    int64_t stride;       /* between points, in values */
    int64_t n_features, n_groups;
    int n_points, largest;  /* largest absolute value of a code */
    int offset;
    uint8_t *codes;         /* one panel */
    float *scale, *square, *error;
    int32_t *sum;
} Encoding;

/* What is summed over the features of one point. */
typedef struct {
    float unit, inverse;
    double lost, length;
    int32_t sum;
} Row;

/* Steps of the encoding, one set for each kind of vector.

   largest: the largest absolute value.
   round: round some values of a point to integers. The first n of them exist, the others are 0; the
   room for codes is a multiple of 16. Integers are summed as floats, which is exact: the squares of
   CHUNK codes are less than 2^24. */
typedef struct {
    float (*largest)(const float *, const float *, int64_t);
    void (*round)(const float *, const float *, int64_t, int64_t, int, uint8_t *, Row *);
} Steps;

__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"))) INLINE __m512
shifted_avx512(const float *x, const float *centre, int64_t k, __mmask16 exist)
{
    const __m512 v = _mm512_maskz_loadu_ps(exist, x);
    return centre ? _mm512_sub_ps(v, _mm512_maskz_loadu_ps(exist, centre + k)) : v;
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"))) INLINE float
largest_avx512(const float *x, const float *centre, int64_t n)
{
    __m512 most = _mm512_setzero_ps(), more = most;
    int64_t k = 0;
    for (; k + 32 <= n; k += 32) {
        most = _mm512_max_ps(most, _mm512_abs_ps(shifted_avx512(x + k, centre, k, 0xffff)));
        more = _mm512_max_ps(more, _mm512_abs_ps(shifted_avx512(x + k + 16, centre, k + 16, 0xffff)));
    }
    for (; k < n; k += 16) {
        const __mmask16 exist = (__mmask16)(n - k < 16 ? (1 << (n - k)) - 1 : 0xffff);
        most = _mm512_max_ps(most, _mm512_abs_ps(shifted_avx512(x + k, centre, k, exist)));
    }
    return _mm512_reduce_max_ps(_mm512_max_ps(most, more));
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"))) INLINE void
round_avx512(const float *x, const float *centre, int64_t n, int64_t padded, int offset, uint8_t *codes,
    Row *row)
{
    const __m512 unit = _mm512_set1_ps(row->unit), inverse = _mm512_set1_ps(row->inverse);
    __m512 lost = _mm512_setzero_ps(), total = lost, squares = lost;
    const __m128i shift = _mm_set1_epi8((char)offset);
    for (int64_t k = 0; k < padded; k += 16) {
        const int64_t left = n - k;
        const __mmask16 exist = (__mmask16)(left >= 16 ? 0xffff : left > 0 ? (1 << left) - 1 : 0);
        const __m512 v = shifted_avx512(x + k, centre, k, exist);
        const __m512i code = _mm512_cvtps_epi32(_mm512_mul_ps(v, inverse));
        const __m512 q = _mm512_cvtepi32_ps(code);
        const __m512 rest = _mm512_fnmadd_ps(q, unit, v);
        lost = _mm512_fmadd_ps(rest, rest, lost);
        total = _mm512_add_ps(total, q);
        squares = _mm512_fmadd_ps(q, q, squares);
        _mm_storeu_si128((__m128i *)(codes + k), _mm_add_epi8(_mm512_cvtepi32_epi8(code), shift));
    }
    row->lost += (double)_mm512_reduce_add_ps(lost);
    row->length += (double)_mm512_reduce_add_ps(squares);
    row->sum += (int32_t)_mm512_reduce_add_ps(total);
}

__attribute__((target("avx2,fma"))) INLINE __m256
shifted_avx2(const float *x, const float *centre, int64_t k)
{
    const __m256 v = _mm256_loadu_ps(x);
    return centre ? _mm256_sub_ps(v, _mm256_loadu_ps(centre + k)) : v;
}

__attribute__((target("avx2,fma"))) INLINE float
largest_avx2(const float *x, const float *centre, int64_t n)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 most = _mm256_setzero_ps(), more = most;
    int64_t k = 0;
    for (; k + 16 <= n; k += 16) {
        most = _mm256_max_ps(most, _mm256_andnot_ps(sign, shifted_avx2(x + k, centre, k)));
        more = _mm256_max_ps(more, _mm256_andnot_ps(sign, shifted_avx2(x + k + 8, centre, k + 8)));
    }
    float parts[8], maximum = 0;
    _mm256_storeu_ps(parts, _mm256_max_ps(most, more));
    for (int l = 0; l < 8; l++) maximum = parts[l] > maximum ? parts[l] : maximum;
    for (; k < n; k++) {
        const float v = centre ? x[k] - centre[k] : x[k], size = v < 0 ? -v : v;
        maximum = size > maximum ? size : maximum;
    }
    return maximum;
}

__attribute__((target("avx2,fma"))) INLINE void
round_avx2(const float *x, const float *centre, int64_t n, int64_t padded, int offset, uint8_t *codes,
    Row *row)
{
    const __m256 unit = _mm256_set1_ps(row->unit), inverse = _mm256_set1_ps(row->inverse);
    __m256 lost = _mm256_setzero_ps(), total = lost, squares = lost;
    const __m128i shift = _mm_set1_epi8((char)offset);
    for (int64_t k = 0; k < padded; k += 16) {
        const int64_t left = n - k;
        float last[16] = {0};
        const int is_whole = left >= 16;
        for (int64_t l = k; !is_whole && l < n; l++) last[l - k] = centre ? x[l] - centre[l] : x[l];
        __m256i code[2];
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            const __m256 v = is_whole ? shifted_avx2(x + k + 8 * h, centre, k + 8 * h)
                                      : _mm256_loadu_ps(last + 8 * h);
            code[h] = _mm256_cvtps_epi32(_mm256_mul_ps(v, inverse));
            const __m256 q = _mm256_cvtepi32_ps(code[h]);
            const __m256 rest = _mm256_fnmadd_ps(q, unit, v);
            lost = _mm256_fmadd_ps(rest, rest, lost);
            total = _mm256_add_ps(total, q);
            squares = _mm256_fmadd_ps(q, q, squares);
        }
        const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(code[0], code[1]), 0xd8);
        const __m128i bytes =
            _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
        _mm_storeu_si128((__m128i *)(codes + k), _mm_add_epi8(bytes, shift));
    }
    float parts[3][8];
    _mm256_storeu_ps(parts[0], lost);
    _mm256_storeu_ps(parts[1], squares);
    _mm256_storeu_ps(parts[2], total);
    for (int l = 0; l < 8; l++) {
        row->lost += parts[0][l];
        row->length += parts[1][l];
        row->sum += (int32_t)parts[2][l];
    }
}

INLINE void encode_panel(const Encoding *e, Steps steps)
{
    uint8_t codes[PANEL][CHUNK] __attribute__((aligned(64)));
    Row rows[PANEL];
    memset(rows, 0, sizeof rows);
    for (int r = 0; r < e->n_points; r++) {
        const float maximum = steps.largest(e->values + r * e->stride, e->centre, e->n_features);
        rows[r].unit = maximum / (float)e->largest;
        if (rows[r].unit > 1e-30f)
            rows[r].inverse = 1 / rows[r].unit;
        else
            rows[r].unit = 0;
    }
    memset(codes, 0, sizeof codes);
    word *out = (word *)e->codes;
    for (int64_t start = 0; start < 4 * e->n_groups; start += CHUNK) {
        const int64_t rest = 4 * e->n_groups - start, padded = rest < CHUNK ? rest : CHUNK;
        for (int r = 0; r < e->n_points; r++)
            steps.round(e->values + r * e->stride + start, e->centre ? e->centre + start : NULL,
                        e->n_features - start, padded, e->offset, codes[r], rows + r);
        for (int64_t k = 0; k < padded; k += 4, out += PANEL)
            for (int r = 0; r < PANEL; r++) memcpy(out + r, codes[r] + k, 4);
    }
    for (int r = 0; r < e->n_points; r++) {
        const Row row = rows[r];
        e->scale[r] = row.unit;
        /* less, see settle */
        e->square[r] = (float)(row.length * row.unit * row.unit * (1 - 0x1p-19));
        e->error[r] = (float)__builtin_sqrt(row.lost);
        e->sum[r] = row.sum;
    }
}

__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma"))) static void encode_avx512(const Encoding *e)
{
    encode_panel(e, (Steps){largest_avx512, round_avx512});
}

__attribute__((target("avx2,fma"))) static void encode_avx2(const Encoding *e)
{
    encode_panel(e, (Steps){largest_avx2, round_avx2});
}

/* -- products of codes ------------------------------------------------------------------- */

typedef struct {
    const uint8_t *codes; /* panels */
    const int32_t *sum;
    const float *scale, *square, *error, *ceiling;
    const int32_t *id;  /* points of equal ids are not compared; for the least squares only */
    float *least;       /* 16 for each point, or NULL */
    int32_t *place;     /* of the points that they belong to */
    int64_t n; /* points */
} Side;

typedef struct {
    Side a, b;
    int64_t n_groups;
    int symmetric;  /* whether the ceilings of b count as well */
    int is_square;  /* whether a is b: blocks of 16 points above the diagonal are then left out */
    int adds;       /* whether products are added to what is in dense, in place of squares */
    float *dense;   /* all squares, row by row, or NULL: then hits below the ceilings */
    int32_t *hit_a, *hit_b;
    float *hit_square;
    int64_t capacity, n_hits; /* more hits than the capacity are counted, not written */
} Product;

/* Adds a run of features to the products of 16 points with 16 points, and with the next 16: the first
   factor is signed, the others have the offset. */
typedef void (*Micro)(const int8_t *, const uint8_t *, const uint8_t *, int64_t, int32_t *, int32_t *, int);

__attribute__((target("avx512f,avx512bw,avx512vnni"))) INLINE void
micro_avx512(const int8_t *a, const uint8_t *b, const uint8_t *next, int64_t n_groups, int32_t *out,
             int32_t *out_next, int first)
{
    for (int part = 0; part < PANEL; part += 8) {
        const word *mine = (const word *)a + part;
        int32_t *sums = out + PANEL * part, *sums_next = out_next + PANEL * part;
        __m512i left[8], right[8];
#pragma GCC unroll 8
        for (int r = 0; r < 8; r++) {
            left[r] = first ? _mm512_setzero_si512() : _mm512_loadu_si512(sums + PANEL * r);
            right[r] = first ? _mm512_setzero_si512() : _mm512_loadu_si512(sums_next + PANEL * r);
        }
        for (int64_t k = 0; k < n_groups; k++) {
            const __m512i theirs = _mm512_loadu_si512(b + GROUP * k);
            const __m512i also = _mm512_loadu_si512(next + GROUP * k);
#pragma GCC unroll 8
            for (int r = 0; r < 8; r++) {
                const __m512i one = _mm512_set1_epi32(mine[PANEL * k + r]);
                left[r] = _mm512_dpbusd_epi32(left[r], theirs, one);
                right[r] = _mm512_dpbusd_epi32(right[r], also, one);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < 8; r++) {
            _mm512_storeu_si512(sums + PANEL * r, left[r]);
            _mm512_storeu_si512(sums_next + PANEL * r, right[r]);
        }
    }
}

#if HAS_AVX_VNNI
__attribute__((target("avx2,avxvnni"))) INLINE void
single_avx_vnni(const int8_t *a, const uint8_t *b, int64_t n_groups, int32_t *out, int first)
{
    for (int part = 0; part < PANEL; part += 4) {
        __m256i sums[4][2];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++)
                sums[r][h] = first ? _mm256_setzero_si256()
                                   : _mm256_loadu_si256((const __m256i *)(out + PANEL * (part + r)) + h);
        for (int64_t k = 0; k < n_groups; k++) {
            const __m256i *theirs = (const __m256i *)(b + GROUP * k);
            const __m256i low = _mm256_loadu_si256(theirs), high = _mm256_loadu_si256(theirs + 1);
            const word *mine = (const word *)(a + GROUP * k) + part;
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                const __m256i one = _mm256_set1_epi32(mine[r]);
                sums[r][0] = _mm256_dpbusd_avx_epi32(sums[r][0], low, one);
                sums[r][1] = _mm256_dpbusd_avx_epi32(sums[r][1], high, one);
            }
        }
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++)
                _mm256_storeu_si256((__m256i *)(out + PANEL * (part + r)) + h, sums[r][h]);
    }
}

__attribute__((target("avx2,avxvnni"))) INLINE void
micro_avx_vnni(const int8_t *a, const uint8_t *b, const uint8_t *next, int64_t n_groups, int32_t *out,
               int32_t *out_next, int first)
{
    single_avx_vnni(a, b, n_groups, out, first);
    single_avx_vnni(a, next, n_groups, out_next, first);
}
#endif

/* Codes up to 63: the sums of two products, and of two such sums, fit 16 bits. */
__attribute__((target("avx2"))) INLINE void
single_avx2(const int8_t *a, const uint8_t *b, int64_t n_groups, int32_t *out, int first)
{
    const __m256i ones = _mm256_set1_epi16(1);
    for (int part = 0; part < PANEL; part += 4) {
        __m256i sums[4][2];
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++)
                sums[r][h] = first ? _mm256_setzero_si256()
                                   : _mm256_loadu_si256((const __m256i *)(out + PANEL * (part + r)) + h);
        for (int64_t k = 0; k < n_groups; k += 2) {
            const __m256i *theirs = (const __m256i *)(b + GROUP * k);
            const word *mine = (const word *)(a + GROUP * k) + part;
            __m256i columns[4];
#pragma GCC unroll 4
            for (int h = 0; h < 4; h++) columns[h] = _mm256_loadu_si256(theirs + h);
#pragma GCC unroll 4
            for (int r = 0; r < 4; r++) {
                const __m256i one = _mm256_set1_epi32(mine[r]);
                const __m256i two = _mm256_set1_epi32(mine[r + PANEL]);
#pragma GCC unroll 2
                for (int h = 0; h < 2; h++) {
                    const __m256i short_sums =
                        _mm256_add_epi16(_mm256_maddubs_epi16(columns[h], one),
                                         _mm256_maddubs_epi16(columns[2 + h], two));
                    sums[r][h] = _mm256_add_epi32(sums[r][h], _mm256_madd_epi16(short_sums, ones));
                }
            }
        }
#pragma GCC unroll 4
        for (int r = 0; r < 4; r++)
#pragma GCC unroll 2
            for (int h = 0; h < 2; h++)
                _mm256_storeu_si256((__m256i *)(out + PANEL * (part + r)) + h, sums[r][h]);
    }
}

__attribute__((target("avx2"))) INLINE void
micro_avx2(const int8_t *a, const uint8_t *b, const uint8_t *next, int64_t n_groups, int32_t *out,
           int32_t *out_next, int first)
{
    single_avx2(a, b, n_groups, out, first);
    single_avx2(a, next, n_groups, out_next, first);
}

/* One bit for each of 16 truths. */
typedef unsigned (*Mask)(const i16 *);

__attribute__((target("avx512f,avx512dq"))) INLINE unsigned mask_avx512(const i16 *truths)
{
    return _mm512_movepi32_mask((__m512i)*truths);
}

__attribute__((target("avx2"))) INLINE unsigned mask_avx2(const i16 *truths)
{
    __m256 halves[2];
    memcpy(halves, truths, sizeof halves);
    return (unsigned)_mm256_movemask_ps(halves[0]) | (unsigned)_mm256_movemask_ps(halves[1]) << 8;
}

/* What is known of a panel of b, read once for all panels of a. */
typedef struct {
    int64_t start;
    int n; /* points */
    f16 scale, square, error, ceiling;
    float largest_error, largest_ceiling;
    i16 id;
} Columns;

INLINE void read_columns(Columns *c, const Product *p, int64_t start)
{
    const Side *side = &p->b;
    const f16 zero = {0};
    const i16 infinite = (i16)zero + 0x7f800000;
    c->start = start;
    c->n = side->n - start < PANEL ? (int)(side->n - start) : PANEL;
    const size_t size = 4 * (size_t)c->n;
    c->scale = c->error = c->ceiling = zero;
    c->square = (f16)infinite;
    c->id = (i16)zero;
    memcpy(&c->scale, side->scale + start, size);
    memcpy(&c->square, side->square + start, size);
    if (p->a.least)
        memcpy(&c->id, side->id + start, size);
    else if (!p->dense) {
        memcpy(&c->error, side->error + start, size);
        if (p->symmetric) memcpy(&c->ceiling, side->ceiling + start, size);
    }
    c->largest_error = c->largest_ceiling = -__builtin_inff();
    for (int l = 0; l < c->n; l++) {
        c->largest_error = c->error[l] > c->largest_error ? c->error[l] : c->largest_error;
        c->largest_ceiling = c->ceiling[l] > c->largest_ceiling ? c->ceiling[l] : c->largest_ceiling;
    }
}

/* The products of codes, without the offset: computed modulo 2^32, as are the sums. */
INLINE f16 inner(const int32_t *products, uint32_t offset, int32_t sum)
{
    u16 whole;
    memcpy(&whole, products, sizeof whole);
    whole -= offset * (uint32_t)sum;
    return __builtin_convertvector((i16)whole, f16);
}

/* Turn the products of 16 points with 16 points into squared distances of codes; write them, or
   those below the ceilings. Rounding has an error of at most 2^-20 of the sum of the two squared
   lengths. These are made smaller by 2^-19, so that what is written is a lower bound. */
INLINE void settle(Product *p, int64_t a, const Columns *c, const int32_t *products, uint32_t offset, Mask mask)
{
    const Side mine = p->a;
    const int n_rows = mine.n - a < PANEL ? (int)(mine.n - a) : PANEL;
    const int symmetric = p->symmetric;
    const f16 zero = {0};
    for (int r = 0; r < n_rows; r++) {
        const float scale = mine.scale[a + r];
        const f16 together = inner(products + PANEL * r, offset, mine.sum[a + r]);
        float *out = p->dense ? p->dense + (a + r) * p->b.n + c->start : NULL;
        if (p->adds) {
            f16 sums = zero;
            memcpy(&sums, out, 4 * (size_t)c->n);
            sums += (c->scale * scale) * together;
            memcpy(out, &sums, 4 * (size_t)c->n);
            continue;
        }
        const f16 squares = (c->square + mine.square[a + r]) - (c->scale * (2 * scale)) * together;
        if (out) {
            memcpy(out, &squares, 4 * (size_t)c->n);
            continue;
        }
        /* few are near: first with the largest reach, since all sums and products round alike */
        float most = c->largest_error + mine.ceiling[a + r];
        const float turned = symmetric ? c->largest_ceiling + mine.error[a + r] : 0;
        most = most > turned ? most : turned;
        most = most > 0 ? most : 0;
        const i16 may_be = squares < zero + most * most;
        if (!mask(&may_be)) continue;
        f16 reach = c->error + mine.ceiling[a + r];
        if (symmetric) {
            const f16 other = c->ceiling + mine.error[a + r];
            reach = larger(&other, &reach);
        }
        reach = larger(&reach, &zero);
        const i16 is_below = squares < reach * reach;
        unsigned hits = mask(&is_below);
        if (c->n < PANEL) hits &= (1u << c->n) - 1;
        if (!hits) continue;
        float values[PANEL];
        memcpy(values, &squares, sizeof values);
        for (; hits; hits &= hits - 1) {
            const int column = __builtin_ctz(hits);
            if (p->n_hits < p->capacity) {
                p->hit_a[p->n_hits] = (int32_t)(a + r);
                p->hit_b[p->n_hits] = (int32_t)(c->start + column);
                p->hit_square[p->n_hits] = values[column];
            }
            p->n_hits++;
        }
    }
}

/* Keep whatever is less: 16 numbers, and the places that they are from. */
INLINE void keep_least(float *least, int32_t *place, const f16 *squares, const i16 *where)
{
    f16 before;
    i16 there;
    memcpy(&before, least, sizeof before);
    memcpy(&there, place, sizeof there);
    const i16 is_less = *squares < before;
    before = (f16)(((i16)*squares & is_less) | ((i16)before & ~is_less));
    there = (*where & is_less) | (there & ~is_less);
    memcpy(least, &before, sizeof before);
    memcpy(place, &there, sizeof there);
}

/* Turn products into squared distances, as settle does, and keep the least of each point: a point of
   a has 16, one for the points at each position of the panels of b. For the points of b, those of a
   panel lie side by side: 16 for each, one for the points at each position of the panels of a. */
INLINE void settle_least(Product *p, int64_t a, const Columns *c, const int32_t *products, uint32_t offset)
{
    const Side mine = p->a, theirs = p->b;
    const int n_rows = mine.n - a < PANEL ? (int)(mine.n - a) : PANEL;
    const int is_turned = theirs.least && (!p->is_square || a != c->start);
    const i16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    const i16 columns = lanes + (int32_t)c->start, infinite = (lanes & 0) + 0x7f800000;
    for (int r = 0; r < n_rows; r++) {
        const int64_t row = PANEL * (a + r), column = PANEL * (c->start + r);
        const f16 together = inner(products + PANEL * r, offset, mine.sum[a + r]);
        f16 squares = (c->square + mine.square[a + r]) - (c->scale * (2 * mine.scale[a + r])) * together;
        const i16 is_barred = c->id == mine.id[a + r];
        squares = (f16)(((i16)squares & ~is_barred) | (infinite & is_barred));
        keep_least(mine.least + row, mine.place + row, &squares, &columns);
        const i16 this_row = (lanes & 0) + (int32_t)(a + r);
        if (is_turned) keep_least(theirs.least + column, theirs.place + column, &squares, &this_row);
    }
}

INLINE void multiply(Product *p, Micro micro, Mask mask, uint32_t offset)
{
    static __thread int32_t products[BLOCK_A * BLOCK_B * PANEL * PANEL] __attribute__((aligned(64)));
    static __thread int8_t signed_a[BLOCK_A * RUN * GROUP] __attribute__((aligned(64)));
    const int64_t panel = GROUP * p->n_groups;
    /* runs of equal length, an even number of groups: each pass over the products takes its time */
    const int64_t n_runs = (p->n_groups + RUN - 1) / RUN;
    const int64_t longest = ((p->n_groups + n_runs - 1) / n_runs + 1) / 2 * 2;
    const int64_t n_a = (p->a.n + PANEL - 1) / PANEL, n_b = (p->b.n + PANEL - 1) / PANEL;
    for (int64_t a = 0; a < n_a; a += BLOCK_A)
        for (int64_t b = 0; b < n_b; b += BLOCK_B) {
            const int64_t end_a = a + BLOCK_A < n_a ? a + BLOCK_A : n_a;
            const int64_t end_b = b + BLOCK_B < n_b ? b + BLOCK_B : n_b;
            if (p->is_square && b >= end_a) break;
            for (int64_t k = 0; k < p->n_groups; k += longest) {
                const int64_t run = k + longest < p->n_groups ? longest : p->n_groups - k;
                for (int64_t i = a; i < end_a; i++) {
                    const uint8_t *codes = p->a.codes + panel * i + GROUP * k;
                    int8_t *out = signed_a + GROUP * RUN * (i - a);
                    for (int64_t c = 0; c < GROUP * run; c++) out[c] = (int8_t)(codes[c] - offset);
                }
                const int is_last = k + run == p->n_groups;
                for (int64_t j = b; j < end_b; j += 2) {
                    const uint8_t *codes = p->b.codes + panel * j + GROUP * k;
                    /* the last panel may be multiplied twice: its products are those of one more */
                    const uint8_t *next = j + 1 < end_b ? codes + panel : codes;
                    int32_t *out = products + 2 * PANEL * PANEL * BLOCK_A * ((j - b) / 2);
                    Columns columns[2];
                    for (int64_t h = 0; h < 2 && is_last && j + h < end_b; h++)
                        read_columns(columns + h, p, PANEL * (j + h));
                    for (int64_t i = a; i < end_a; i++, out += 2 * PANEL * PANEL) {
                        if (p->is_square && j > i) continue;
                        micro(signed_a + GROUP * RUN * (i - a), codes, next, run, out,
                              out + PANEL * PANEL, k == 0);
                        for (int64_t h = 0; h < 2 && is_last && j + h < end_b; h++) {
                            if (p->is_square && j + h > i) break;
                            if (p->a.least)
                                settle_least(p, PANEL * i, columns + h, out + PANEL * PANEL * h, offset);
                            else
                                settle(p, PANEL * i, columns + h, out + PANEL * PANEL * h, offset, mask);
                        }
                    }
                }
            }
        }
}

__attribute__((target("avx512f,avx512bw,avx512dq,avx512vnni,fma"))) static void multiply_avx512(Product *p)
{
    multiply(p, micro_avx512, mask_avx512, OFFSET(AVX512_VNNI));
}

#if HAS_AVX_VNNI
__attribute__((target("avx2,avxvnni,fma"))) static void multiply_avx_vnni(Product *p)
{
    multiply(p, micro_avx_vnni, mask_avx2, OFFSET(AVX_VNNI));
}
#endif

__attribute__((target("avx2,fma"))) static void multiply_avx2(Product *p)
{
    multiply(p, micro_avx2, mask_avx2, OFFSET(AVX2));
}

/* -- numbers below ceilings ---------------------------------------------------------------- */

typedef struct {
    const float *values; /* row by row */
    int64_t n_rows, n_columns;
    const float *ceiling, *turned;   /* of rows, and of columns or NULL */
    const float *error, *their_error; /* added to the ceilings of the other side; or both NULL */
    int32_t *row, *column;
    float *found;
    int64_t capacity, n_hits; /* more hits than the capacity are counted, not written */
} Below;

/* With errors, values are squares: they are compared with the squares of the ceilings. */
__attribute__((target("avx2"))) static void below_avx2(Below *p)
{
    const __m256 zero = _mm256_setzero_ps();
    float last[3][8];
    for (int64_t i = 0; i < p->n_rows; i++) {
        const float *values = p->values + i * p->n_columns;
        const __m256 ceiling = _mm256_set1_ps(p->ceiling[i]);
        const __m256 error = _mm256_set1_ps(p->error ? p->error[i] : 0);
        for (int64_t j = 0; j < p->n_columns; j += 8) {
            const float *v = values + j, *turned = p->turned ? p->turned + j : NULL;
            const float *lost = p->error ? p->their_error + j : NULL;
            const int64_t left = p->n_columns - j;
            if (left < 8) {
                memset(last, 0, sizeof last);
                memcpy(last[0], v, 4 * (size_t)left);
                if (turned) turned = memcpy(last[1], turned, 4 * (size_t)left);
                if (lost) lost = memcpy(last[2], lost, 4 * (size_t)left);
                v = last[0];
            }
            __m256 reach = lost ? _mm256_add_ps(ceiling, _mm256_loadu_ps(lost)) : ceiling;
            if (turned) reach = _mm256_max_ps(reach, _mm256_add_ps(error, _mm256_loadu_ps(turned)));
            if (lost) {
                reach = _mm256_max_ps(reach, zero);
                reach = _mm256_mul_ps(reach, reach);
            }
            const __m256 is_below = _mm256_cmp_ps(_mm256_loadu_ps(v), reach, _CMP_LT_OQ);
            unsigned hits = (unsigned)_mm256_movemask_ps(is_below);
            if (left < 8) hits &= (1u << left) - 1;
            for (; hits; hits &= hits - 1) {
                const int64_t place = j + __builtin_ctz(hits);
                if (p->n_hits < p->capacity) {
                    p->row[p->n_hits] = (int32_t)i;
                    p->column[p->n_hits] = (int32_t)place;
                    p->found[p->n_hits] = values[place];
                }
                p->n_hits++;
            }
        }
    }
}

/* -- squared distances of pairs ---------------------------------------------------------- */

typedef struct {
    const char *values;
    int64_t stride; /* between points, in bytes */
    int64_t n_features;
    int itemsize; /* 4 or 8 */
    int in_runs;  /* whether squares may be summed in single precision: the unit is 1 then */
    double unit;
    const int64_t *i, *j;
    int64_t n;
    double *squares;
} Pairs;

typedef double (*Floats)(const float *, const float *, int64_t, double);

INLINE double rest_of_floats(const float *x, const float *y, int64_t k, int64_t n, double unit)
{
    double total = 0;
    for (; k < n; k++) {
        const float difference = x[k] - y[k];
        total += (difference * unit) * (difference * unit);
    }
    return total;
}

/* Differences of single precision are right to one roundoff; their squares are summed in double. */
__attribute__((target("avx512f"))) INLINE double
floats_avx512(const float *x, const float *y, int64_t n, double unit)
{
    const __m512d factor = _mm512_set1_pd(unit);
    __m512d sums[2] = {_mm512_setzero_pd(), _mm512_setzero_pd()};
    int64_t k = 0;
    for (; k + 16 <= n; k += 16)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            const __m256 difference =
                _mm256_sub_ps(_mm256_loadu_ps(x + k + 8 * h), _mm256_loadu_ps(y + k + 8 * h));
            const __m512d wide = _mm512_mul_pd(_mm512_cvtps_pd(difference), factor);
            sums[h] = _mm512_fmadd_pd(wide, wide, sums[h]);
        }
    return _mm512_reduce_add_pd(_mm512_add_pd(sums[0], sums[1])) + rest_of_floats(x, y, k, n, unit);
}

__attribute__((target("avx2,fma"))) INLINE double
floats_avx2(const float *x, const float *y, int64_t n, double unit)
{
    const __m256d factor = _mm256_set1_pd(unit);
    __m256d sums[4] = {_mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(),
                       _mm256_setzero_pd()};
    double parts[4];
    int64_t k = 0;
    for (; k + 16 <= n; k += 16)
#pragma GCC unroll 4
        for (int h = 0; h < 4; h++) {
            const __m128 difference =
                _mm_sub_ps(_mm_loadu_ps(x + k + 4 * h), _mm_loadu_ps(y + k + 4 * h));
            const __m256d wide = _mm256_mul_pd(_mm256_cvtps_pd(difference), factor);
            sums[h] = _mm256_fmadd_pd(wide, wide, sums[h]);
        }
    _mm256_storeu_pd(parts, _mm256_add_pd(_mm256_add_pd(sums[0], sums[2]), _mm256_add_pd(sums[1], sums[3])));
    return parts[0] + parts[1] + parts[2] + parts[3] + rest_of_floats(x, y, k, n, unit);
}

/* The same, with short runs of squares summed in single precision: 4 in each of 64 sums, and these
   pairwise, has an error of at most 8 roundoffs. */
INLINE double square_in_runs(const float *x, const float *y, int64_t n, Floats floats)
{
    d8 sums[2] = {{0}, {0}};
    double total = 0;
    int64_t k = 0;
    for (; k + 256 <= n; k += 256) {
        f8 parts[8];
#pragma GCC unroll 8
        for (int h = 0; h < 8; h++) {
            const f8 difference = *(const f8u *)(x + k + 8 * h) - *(const f8u *)(y + k + 8 * h);
            parts[h] = difference * difference;
        }
        for (int64_t l = k + 64; l < k + 256; l += 64)
#pragma GCC unroll 8
            for (int h = 0; h < 8; h++) {
                const f8 difference = *(const f8u *)(x + l + 8 * h) - *(const f8u *)(y + l + 8 * h);
                parts[h] += difference * difference;
            }
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++)
            sums[h] += __builtin_convertvector((parts[h] + parts[h + 2]) + (parts[h + 4] + parts[h + 6]), d8);
    }
    sums[0] += sums[1];
    for (int l = 0; l < 8; l++) total += sums[0][l];
    return total + (k < n ? floats(x + k, y + k, n - k, 1) : 0);
}

INLINE double square_of_doubles(const double *x, const double *y, int64_t n, double unit)
{
    d8 sums[2] = {{0}, {0}};
    double total = 0;
    int64_t k = 0;
    for (; k + 16 <= n; k += 16)
#pragma GCC unroll 2
        for (int h = 0; h < 2; h++) {
            const d8 wide = (*(const d8u *)(x + k + 8 * h) - *(const d8u *)(y + k + 8 * h)) * unit;
            sums[h] += wide * wide;
        }
    sums[0] += sums[1];
    for (int l = 0; l < 8; l++) total += sums[0][l];
    for (; k < n; k++) {
        const double difference = (x[k] - y[k]) * unit;
        total += difference * difference;
    }
    return total;
}

INLINE void squares_of_pairs(const Pairs *p, Floats floats)
{
    for (int64_t pair = 0; pair < p->n; pair++) {
        const char *x = p->values + p->stride * p->i[pair];
        const char *y = p->values + p->stride * p->j[pair];
        double square;
        if (p->itemsize == 8)
            square = square_of_doubles((const double *)x, (const double *)y, p->n_features, p->unit);
        else if (!p->in_runs ||
                 (square = square_in_runs((const float *)x, (const float *)y, p->n_features, floats)) <
                     (double)p->n_features * UNDERFLOW)
            square = floats((const float *)x, (const float *)y, p->n_features, p->unit);
        p->squares[pair] = square;
    }
}

__attribute__((target("avx512f,avx512dq,fma"))) static void squares_avx512(const Pairs *p)
{
    squares_of_pairs(p, floats_avx512);
}

__attribute__((target("avx2,fma"))) static void squares_avx2(const Pairs *p)
{
    squares_of_pairs(p, floats_avx2);
}

#endif /* HAS_KERNELS */

/* -- the module -------------------------------------------------------------------------- */

#define ADDRESS(number) ((void *)(uintptr_t)(number))

static PyObject *levels(PyObject *self, PyObject *args)
{
#if HAS_KERNELS
    return PyLong_FromLong(levels_of_processor());
#else
    return PyLong_FromLong(0);
#endif
}

#if HAS_KERNELS

static PyObject *encode(PyObject *self, PyObject *args)
{
    unsigned long long values, centre, codes, scale, square, error, sum;
    long long stride, n_features, n_groups, n_points;
    int largest, processor;
    if (!PyArg_ParseTuple(args, "iKKLLLLiKKKKK", &processor, &values, &centre, &stride, &n_points,
                          &n_features, &n_groups, &largest, &codes, &scale, &square, &error, &sum))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    for (int64_t start = 0; start < n_points; start += PANEL) {
        const Encoding e = {
            (const float *)ADDRESS(values) + start * stride, ADDRESS(centre), stride, n_features, n_groups,
            n_points - start < PANEL ? (int)(n_points - start) : PANEL, largest, OFFSET(processor),
            (uint8_t *)ADDRESS(codes) + start / PANEL * GROUP * n_groups,
            (float *)ADDRESS(scale) + start, (float *)ADDRESS(square) + start,
            (float *)ADDRESS(error) + start, (int32_t *)ADDRESS(sum) + start};
        if (processor == AVX512_VNNI)
            encode_avx512(&e);
        else
            encode_avx2(&e);
    }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *product(PyObject *self, PyObject *args)
{
    unsigned long long a[9], b[9], dense, hit_a, hit_b, hit_square;
    long long n_a, n_b, n_groups, capacity;
    int processor, symmetric, is_square, adds;
    if (!PyArg_ParseTuple(args, "i(KKKKKKKKKL)(KKKKKKKKKL)LiiiKKKKL", &processor, &a[0], &a[1], &a[2],
                          &a[3], &a[4], &a[5], &a[6], &a[7], &a[8], &n_a, &b[0], &b[1], &b[2], &b[3],
                          &b[4], &b[5], &b[6], &b[7], &b[8], &n_b, &n_groups, &symmetric, &is_square,
                          &adds, &dense, &hit_a, &hit_b, &hit_square, &capacity))
        return NULL;
    Product p = {
        {ADDRESS(a[0]), ADDRESS(a[1]), ADDRESS(a[2]), ADDRESS(a[3]), ADDRESS(a[4]), ADDRESS(a[5]),
         ADDRESS(a[6]), ADDRESS(a[7]), ADDRESS(a[8]), n_a},
        {ADDRESS(b[0]), ADDRESS(b[1]), ADDRESS(b[2]), ADDRESS(b[3]), ADDRESS(b[4]), ADDRESS(b[5]),
         ADDRESS(b[6]), ADDRESS(b[7]), ADDRESS(b[8]), n_b},
        n_groups, symmetric, is_square, adds, ADDRESS(dense), ADDRESS(hit_a), ADDRESS(hit_b), ADDRESS(hit_square),
        capacity, 0};
    Py_BEGIN_ALLOW_THREADS
    if (processor == AVX512_VNNI)
        multiply_avx512(&p);
#if HAS_AVX_VNNI
    else if (processor == AVX_VNNI)
        multiply_avx_vnni(&p);
#endif
    else
        multiply_avx2(&p);
    Py_END_ALLOW_THREADS
    return PyLong_FromLongLong(p.n_hits);
}

static PyObject *below(PyObject *self, PyObject *args)
{
    unsigned long long values, ceiling, turned, error, their_error, row, column, found;
    long long n_rows, n_columns, capacity;
    if (!PyArg_ParseTuple(args, "KLLKKKKKKKL", &values, &n_rows, &n_columns, &ceiling, &turned,
                          &error, &their_error, &row, &column, &found, &capacity))
        return NULL;
    Below p = {ADDRESS(values), n_rows, n_columns, ADDRESS(ceiling), ADDRESS(turned),
               ADDRESS(error), ADDRESS(their_error), ADDRESS(row), ADDRESS(column), ADDRESS(found),
               capacity, 0};
    Py_BEGIN_ALLOW_THREADS
    below_avx2(&p);
    Py_END_ALLOW_THREADS
    return PyLong_FromLongLong(p.n_hits);
}

static PyObject *squares(PyObject *self, PyObject *args)
{
    unsigned long long values, i, j, out;
    long long stride, n_features, n;
    double unit;
    int processor, itemsize, in_runs;
    if (!PyArg_ParseTuple(args, "iKLLiidKKLK", &processor, &values, &stride, &n_features, &itemsize,
                          &in_runs, &unit, &i, &j, &n, &out))
        return NULL;
    const Pairs p = {ADDRESS(values), stride, n_features, itemsize, in_runs, unit,
                     ADDRESS(i), ADDRESS(j), n, ADDRESS(out)};
    Py_BEGIN_ALLOW_THREADS
    if (processor == AVX512_VNNI)
        squares_avx512(&p);
    else
        squares_avx2(&p);
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

#endif /* HAS_KERNELS */

static PyMethodDef methods[] = {
    {"levels", levels, METH_NOARGS, "Return which levels this processor has, one bit for each."},
#if HAS_KERNELS
    {"encode", encode, METH_VARARGS, "Round points to codes."},
    {"product", product, METH_VARARGS, "Multiply codes with codes."},
    {"below", below, METH_VARARGS, "Find the numbers below ceilings."},
    {"squares", squares, METH_VARARGS, "Compute squared distances of pairs of points."},
#endif
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT, "_kernels", "Compiled kernels of the search.", 0, methods,
    NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__kernels(void)
{
    return PyModuleDef_Init(&module);
}
