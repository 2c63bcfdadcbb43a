// Sums of sparse products over channels, the inner loop of a symmetric contraction (see experiments/nn/forms.py).
//
//   out[n, o, c] = sum over terms t of output o:  coefficient[t] * prod_f  row[index[t, f]][n, c]
//
// Arguments are contiguous [N, rows_a, C]. Rows are numbered: 0 is the constant 1, then the rows of the arguments one after
// the other, then the products pair[q, 0] * pair[q, 1] of two earlier rows. The terms of output o are those from offset[o] to
// offset[o + 1]. Channels are the vector axis: no shuffles and no gathers, whatever the table. The rows of one node are
// first put side by side (some hundred times 128 bytes: they stay in the nearest cache), so that a factor costs one load;
// loads are what limits this loop, and products that many terms share (pairs) halve their number.

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// The widest registers there are; compilers split wider vectors through memory.
#if defined(__AVX512F__)
constexpr int REGISTER = 64;
#elif defined(__AVX__)
constexpr int REGISTER = 32;
#else
constexpr int REGISTER = 16;
#endif

template <typename T, int W> struct Vector { typedef T type __attribute__((vector_size(W * sizeof(T)))); };
template <typename T> struct Vector<T, 1> { typedef T type; };

template <typename T> struct Problem {
    int64_t arguments, channels, pairs, outputs;
    const T* const* argument;
    const int64_t* rows;
    const int32_t* pair;
    const int32_t* index;
    const T* coefficient;
    const int32_t* offset;
    T* out;
    char* scratch;  // aligned to 128 bytes
};

// Node n, channels c ... c + B * W - 1, in B registers of W channels.
template <typename T, int B, int W, int F> void block(const Problem<T>& p, int64_t n, int64_t c) {
    typedef typename Vector<T, W>::type V;
    struct Row { V part[B]; };
    Row* row = reinterpret_cast<Row*>(p.scratch);
    for (int b = 0; b < B; ++b) row->part[b] = V{} + T(1);
    ++row;
    for (int64_t a = 0; a < p.arguments; ++a) {
        const T* from = p.argument[a] + n * p.rows[a] * p.channels + c;
        for (int64_t r = 0; r < p.rows[a]; ++r) std::memcpy(row++, from + r * p.channels, sizeof(Row));
    }
    const Row* all = reinterpret_cast<const Row*>(p.scratch);
    for (int64_t q = 0; q < p.pairs; ++q, ++row)
        for (int b = 0; b < B; ++b) row->part[b] = all[p.pair[2 * q]].part[b] * all[p.pair[2 * q + 1]].part[b];
    const int32_t* index = p.index;
    T* out = p.out + n * p.outputs * p.channels + c;
    for (int64_t o = 0; o < p.outputs; ++o, out += p.channels) {
        V sum[B] = {};
        for (int32_t t = p.offset[o]; t < p.offset[o + 1]; ++t, index += F) {
            V product[B];
            for (int b = 0; b < B; ++b) product[b] = all[index[0]].part[b];
            for (int f = 1; f < F; ++f)
                for (int b = 0; b < B; ++b) product[b] *= all[index[f]].part[b];
            for (int b = 0; b < B; ++b) sum[b] += product[b] * p.coefficient[t];
        }
        std::memcpy(out, &sum, sizeof(sum));
    }
}

template <typename T, int F> void run(const Problem<T>& p, int64_t nodes) {
    constexpr int W = REGISTER / sizeof(T);
    for (int64_t n = 0; n < nodes; ++n) {
        int64_t c = 0;
        for (; c + 2 * W <= p.channels; c += 2 * W) block<T, 2, W, F>(p, n, c);
        for (; c + W <= p.channels; c += W) block<T, 1, W, F>(p, n, c);
        for (; c < p.channels; ++c) block<T, 1, 1, F>(p, n, c);
    }
}

template <typename T>
int dispatch(int64_t factors, int64_t nodes, int64_t channels, int64_t arguments, const T* const* argument,
             const int64_t* rows, int64_t pairs, const int32_t* pair, const int32_t* index, const T* coefficient,
             const int32_t* offset, int64_t outputs, T* out) {
    int64_t total = 1 + pairs;
    for (int64_t a = 0; a < arguments; ++a) total += rows[a];
    std::vector<char> memory(128 * (total + 1));
    char* scratch = memory.data() + (128 - reinterpret_cast<uintptr_t>(memory.data()) % 128);
    const Problem<T> p = {arguments, channels, pairs, outputs, argument, rows, pair, index, coefficient, offset, out, scratch};
    switch (factors) {
        case 1: run<T, 1>(p, nodes); return 0;
        case 2: run<T, 2>(p, nodes); return 0;
        case 3: run<T, 3>(p, nodes); return 0;
        case 4: run<T, 4>(p, nodes); return 0;
        case 5: run<T, 5>(p, nodes); return 0;
        case 6: run<T, 6>(p, nodes); return 0;
        default: return 1;
    }
}

}  // namespace

extern "C" int sparse_product_float(int64_t factors, int64_t nodes, int64_t channels, int64_t arguments,
                                    const float* const* argument, const int64_t* rows, int64_t pairs,
                                    const int32_t* pair, const int32_t* index, const float* coefficient,
                                    const int32_t* offset, int64_t outputs, float* out) {
    return dispatch(factors, nodes, channels, arguments, argument, rows, pairs, pair, index, coefficient, offset, outputs,
                    out);
}

extern "C" int sparse_product_double(int64_t factors, int64_t nodes, int64_t channels, int64_t arguments,
                                     const double* const* argument, const int64_t* rows, int64_t pairs,
                                     const int32_t* pair, const int32_t* index, const double* coefficient,
                                     const int32_t* offset, int64_t outputs, double* out) {
    return dispatch(factors, nodes, channels, arguments, argument, rows, pairs, pair, index, coefficient, offset, outputs,
                    out);
}
