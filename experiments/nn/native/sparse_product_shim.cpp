// equilaw::sparse_product with torch's C interface, for the C++ that Inductor writes: without it that code needs ATen's
// headers, which take longer to compile than all that it calls, and goes through the interpreter at every call.

#include <torch/csrc/inductor/aoti_torch/c/shim.h>

#include "sparse_product.cpp"

#define TRY(call) if (AOTITorchError error = (call)) return error

namespace {

// A contiguous tensor as the loops above take it: the one that is given, or a copy that lives as long as this.
struct Contiguous {
    AtenTensorHandle copy = nullptr;
    void* data = nullptr;
    int64_t* size = nullptr;
    ~Contiguous() { if (copy) aoti_torch_delete_tensor_object(copy); }

    AOTITorchError of(AtenTensorHandle given, int32_t dtype) {
        bool whole;
        TRY(aoti_torch_is_contiguous(given, &whole));
        TRY(aoti_torch_get_sizes(given, &size));
        if (!whole) {
            const int64_t strides[3] = {size[1] * size[2], size[2], 1};
            TRY(aoti_torch_empty_strided(3, size, strides, dtype, aoti_torch_device_type_cpu(), 0, &copy));
            TRY(aoti_torch_copy_(copy, given, 0));
        }
        return aoti_torch_get_data_ptr(whole ? given : copy, &data);
    }
};

template <typename T>
AOTITorchError product(const AtenTensorHandle* arguments, int64_t n, AtenTensorHandle pairs, AtenTensorHandle index,
                       AtenTensorHandle coefficient, AtenTensorHandle offset, int32_t dtype, AtenTensorHandle* out) {
    std::vector<Contiguous> held(n);
    std::vector<const T*> data(n);
    std::vector<int64_t> rows(n);
    for (int64_t a = 0; a < n; ++a) {
        TRY(held[a].of(arguments[a], dtype));
        data[a] = static_cast<const T*>(held[a].data);
        rows[a] = held[a].size[1];
    }
    int64_t *pair_size, *index_size, *offset_size;
    TRY(aoti_torch_get_sizes(pairs, &pair_size));
    TRY(aoti_torch_get_sizes(index, &index_size));
    TRY(aoti_torch_get_sizes(offset, &offset_size));
    const int64_t nodes = held[0].size[0], channels = held[0].size[2], outputs = offset_size[0] - 1;
    const int64_t size[3] = {nodes, outputs, channels}, strides[3] = {outputs * channels, channels, 1};
    TRY(aoti_torch_empty_strided(3, size, strides, dtype, aoti_torch_device_type_cpu(), 0, out));
    void *of_pairs, *of_index, *of_coefficient, *of_offset, *of_out;
    TRY(aoti_torch_get_data_ptr(pairs, &of_pairs));
    TRY(aoti_torch_get_data_ptr(index, &of_index));
    TRY(aoti_torch_get_data_ptr(coefficient, &of_coefficient));
    TRY(aoti_torch_get_data_ptr(offset, &of_offset));
    TRY(aoti_torch_get_data_ptr(*out, &of_out));
    return dispatch<T>(index_size[1], nodes, channels, n, data.data(), rows.data(), pair_size[0],
                       static_cast<const int32_t*>(of_pairs), static_cast<const int32_t*>(of_index),
                       static_cast<const T*>(of_coefficient), static_cast<const int32_t*>(of_offset), outputs,
                       static_cast<T*>(of_out));
}

}  // namespace

extern "C" AOTITorchError aoti_torch_cpu_sparse_product(
        const AtenTensorHandle* arguments, int64_t n, AtenTensorHandle pairs, AtenTensorHandle index,
        AtenTensorHandle coefficient, AtenTensorHandle offset, AtenTensorHandle* out) {
    int32_t dtype;
    TRY(aoti_torch_get_dtype(coefficient, &dtype));
    return dtype == aoti_torch_dtype_float32()
               ? product<float>(arguments, n, pairs, index, coefficient, offset, dtype, out)
               : product<double>(arguments, n, pairs, index, coefficient, offset, dtype, out);
}
