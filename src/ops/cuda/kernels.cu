// The fused operations on a GPU, forward and backward, in single precision.
//
// Every kernel is a loop body: one thread makes one item (a row, a number, a head's token) from beginning to end, in a fixed order of additions, and
// nobody else writes there. So there is nothing to wait for, results are the same at every run, and the same text compiles as C++ (host.h), where tests
// hold it to the operations of the CPU. Layouts are those of the Rust files beside: K members, B sequences, T tokens, P pairs, H heads of width W,
// D = H·W, C classes, U distinct exemplars; `item` counts through the shape that a kernel's comment gives, the last axis fastest.

#define KERNEL extern "C" __global__ void
#define ITEM const unsigned item = blockIdx.x * blockDim.x + threadIdx.x; if (item >= items) return

typedef unsigned long long size;

// ---- LayerNorm ----

// A row: y = (x - mean) / sqrt(variance + 1e-5) * gain + bias; moments [rows, 2] are its mean and 1/sqrt(variance + 1e-5).
KERNEL layer_norm(unsigned items, float *y, float *moments, const float *x, const float *gain, const float *bias, unsigned width, unsigned each) {
    ITEM;
    const float *row = x + (size)item * width;
    const size own = (size)(item / each) * width;
    float mean = 0;
    for (unsigned i = 0; i < width; i++) mean += row[i];
    mean /= width;
    float variance = 0;
    for (unsigned i = 0; i < width; i++) variance += (row[i] - mean) * (row[i] - mean);
    const float scale = 1 / sqrtf(variance / width + 1e-5f);
    for (unsigned i = 0; i < width; i++) y[(size)item * width + i] = (row[i] - mean) * scale * gain[own + i] + bias[own + i];
    moments[2 * (size)item] = mean;
    moments[2 * (size)item + 1] = scale;
}

// A row of the input's gradient: scale * (g - mean(g) - n mean(g n)), with n the normalised row and g = grad * gain.
KERNEL layer_norm_backward(unsigned items, float *grad_x, const float *x, const float *moments, const float *gain, const float *grad, unsigned width,
                           unsigned each) {
    ITEM;
    const size start = (size)item * width, own = (size)(item / each) * width;
    const float mean = moments[2 * (size)item], scale = moments[2 * (size)item + 1];
    float sum = 0, product = 0;
    for (unsigned i = 0; i < width; i++) {
        const float g = grad[start + i] * gain[own + i];
        sum += g;
        product += g * ((x[start + i] - mean) * scale);
    }
    sum /= width;
    product /= width;
    for (unsigned i = 0; i < width; i++) {
        const float normalised = (x[start + i] - mean) * scale;
        grad_x[start + i] = scale * (grad[start + i] * gain[own + i] - sum - normalised * product);
    }
}

// [K, D] gradients of gain and bias, over the `each` rows of a member.
KERNEL layer_norm_parameters(unsigned items, float *grad_gain, float *grad_bias, const float *x, const float *moments, const float *grad,
                             unsigned width, unsigned each) {
    ITEM;
    const unsigned member = item / width, i = item % width;
    float gain = 0, bias = 0;
    for (unsigned r = 0; r < each; r++) {
        const size row = (size)member * each + r;
        const float g = grad[row * width + i];
        gain += g * ((x[row * width + i] - moments[2 * row]) * moments[2 * row + 1]);
        bias += g;
    }
    grad_gain[item] = gain;
    grad_bias[item] = bias;
}

// ---- Attention ----

// Entry i of a head's query or key at token t, with rotary positions: turns [T, W/2, 2] are cosines and sines, direction -1 turns back.
__device__ inline float turned(const float *x, unsigned i, const float *turns, unsigned t, unsigned head_width, float direction) {
    if (!turns) return x[i];
    const float *turn = turns + 2 * ((size)t * (head_width / 2) + i / 2);
    const float a = x[i & ~1u], b = x[i | 1u], sine = direction * turn[1];
    return i & 1 ? a * sine + b * turn[0] : a * turn[0] - b * sine;
}

// [K·B, A, H], a head at an attending token: z [K, B, A, D] and its row of pattern [K, B, H, A, T]. Tokens from `first` on attend, A of them;
// `heard` [K, H], where given, is 0 for heads without values.
KERNEL attention(unsigned items, float *z, float *pattern, const float *qkv, const float *turns, const unsigned *heard, unsigned sequences,
                 unsigned tokens, unsigned heads, unsigned head_width, unsigned first, unsigned causal, float scale) {
    ITEM;
    const unsigned attending = tokens - first, head = item % heads, index = item / heads % attending, sequence = item / heads / attending;
    const unsigned t = first + index, seen = causal ? t + 1 : tokens, width = heads * head_width;
    const float *own = qkv + (size)sequence * tokens * 3 * width + head * head_width;
    float *weights = pattern + (((size)sequence * heads + head) * attending + index) * tokens;
    const float *query = own + (size)t * 3 * width;
    float largest = 0;
    for (unsigned s = 0; s < seen; s++) {
        const float *key = own + (size)s * 3 * width + width;
        float score = 0;
        for (unsigned i = 0; i < head_width; i++) score += turned(query, i, turns, t, head_width, 1) * turned(key, i, turns, s, head_width, 1);
        score *= scale;
        weights[s] = score;
        if (s == 0 || score > largest) largest = score;
    }
    float total = 0;
    for (unsigned s = 0; s < seen; s++) {
        weights[s] = expf(weights[s] - largest);
        total += weights[s];
    }
    for (unsigned s = 0; s < tokens; s++) weights[s] = s < seen ? weights[s] / total : 0;
    const int silent = heard && !heard[sequence / sequences * heads + head];
    float *out = z + ((size)sequence * attending + index) * width + head * head_width;
    for (unsigned i = 0; i < head_width; i++) {
        float value = 0;
        for (unsigned s = 0; s < seen && !silent; s++) value += weights[s] * own[(size)s * 3 * width + 2 * width + i];
        out[i] = value;
    }
}

// [K·B, A, H]: a row of the scores' gradient, [K, B, H, A, T], times the scale.
KERNEL attention_scores_backward(unsigned items, float *slopes, const float *pattern, const float *qkv, const float *grad, const unsigned *heard,
                                 unsigned sequences, unsigned tokens, unsigned heads, unsigned head_width, unsigned first, unsigned causal,
                                 float scale) {
    ITEM;
    const unsigned attending = tokens - first, head = item % heads, index = item / heads % attending, sequence = item / heads / attending;
    const unsigned t = first + index, seen = causal ? t + 1 : tokens, width = heads * head_width;
    const size row = (((size)sequence * heads + head) * attending + index) * tokens;
    const float *weights = pattern + row;
    float *out = slopes + row;
    const int silent = heard && !heard[sequence / sequences * heads + head];
    const float *own_grad = grad + ((size)sequence * attending + index) * width + head * head_width;
    float mean = 0;
    for (unsigned s = 0; s < seen && !silent; s++) {
        const float *value = qkv + ((size)sequence * tokens + s) * 3 * width + 2 * width + head * head_width;
        float slope = 0;
        for (unsigned i = 0; i < head_width; i++) slope += own_grad[i] * value[i];
        out[s] = slope;
        mean += weights[s] * slope;
    }
    for (unsigned s = 0; s < tokens; s++) out[s] = s < seen && !silent ? weights[s] * (out[s] - mean) * scale : 0;
}

// [K·B, T, H]: a head's three gradients at a token, in grad_qkv [K, B, T, 3·D].
KERNEL attention_backward(unsigned items, float *grad_qkv, const float *slopes, const float *pattern, const float *qkv, const float *grad,
                          const float *turns, const unsigned *heard, unsigned sequences, unsigned tokens, unsigned heads, unsigned head_width,
                          unsigned first, unsigned causal) {
    ITEM;
    const unsigned attending = tokens - first, head = item % heads, t = item / heads % tokens, sequence = item / heads / tokens;
    const unsigned width = heads * head_width, earliest = causal && t > first ? t : first;
    const int silent = heard && !heard[sequence / sequences * heads + head];
    const float *own = qkv + (size)sequence * tokens * 3 * width + head * head_width;
    const float *own_grad = grad + (size)sequence * attending * width + head * head_width;
    const size rows = ((size)sequence * heads + head) * attending * tokens;
    float *out = grad_qkv + ((size)sequence * tokens + t) * 3 * width + head * head_width;
    for (unsigned i = 0; i < head_width; i++) {
        float query = 0, key = 0, value = 0;
        if (t >= first)
            for (unsigned s = 0; s < (causal ? t + 1 : tokens); s++)
                query += slopes[rows + (t - first) * tokens + s] * turned(own + (size)s * 3 * width + width, i, turns, s, head_width, 1);
        for (unsigned from = earliest; from < tokens; from++) {
            const size at = rows + (from - first) * tokens + t;
            key += slopes[at] * turned(own + (size)from * 3 * width, i, turns, from, head_width, 1);
            if (!silent) value += pattern[at] * own_grad[(size)(from - first) * width + i];
        }
        out[i] = query;
        out[width + i] = key;
        out[2 * width + i] = value;
    }
    if (!turns) return;
    for (unsigned i = 0; i + 1 < head_width; i += 2)
        for (unsigned part = 0; part < 2; part++) {
            float *pair = out + part * width;
            const float a = turned(pair, i, turns, t, head_width, -1), b = turned(pair, i + 1, turns, t, head_width, -1);
            pair[i] = a;
            pair[i + 1] = b;
        }
}

// ---- Tokens ----

// [K, B, T, D]: exemplars [K, U, D] and columns of labels [K, D, C] interleaved by u32 [K, B, P], a column of positions [K, D, places] added.
KERNEL tokens(unsigned items, float *stream, const float *embedded, const float *labels, const float *positions, const unsigned *examples,
              const unsigned *targets, unsigned sequences, unsigned pairs, unsigned distinct, unsigned width, unsigned classes, unsigned places) {
    ITEM;
    const unsigned count = 2 * pairs - 1, i = item % width, t = item / width % count, sequence = item / width / count;
    const unsigned member = sequence / sequences;
    const size pair = (size)sequence * pairs + t / 2;
    float value = t % 2 ? labels[((size)member * width + i) * classes + targets[pair]]
                        : embedded[((size)member * distinct + examples[pair]) * width + i];
    if (positions) value += positions[((size)member * width + i) * places + t];
    stream[item] = value;
}

// [K, U, D]: what the tokens that show an exemplar say.
KERNEL exemplars_backward(unsigned items, float *grad_embedded, const float *grad, const unsigned *examples, unsigned sequences, unsigned pairs,
                          unsigned distinct, unsigned width) {
    ITEM;
    const unsigned i = item % width, exemplar = item / width % distinct, member = item / width / distinct;
    float sum = 0;
    for (unsigned b = 0; b < sequences; b++) {
        const size sequence = (size)member * sequences + b;
        for (unsigned pair = 0; pair < pairs; pair++)
            if (examples[sequence * pairs + pair] == exemplar) sum += grad[(sequence * (2 * pairs - 1) + 2 * pair) * width + i];
    }
    grad_embedded[item] = sum;
}

// [K, D, C]: what the tokens that carry a label say; the query's carries none.
KERNEL labels_backward(unsigned items, float *grad_labels, const float *grad, const unsigned *targets, unsigned sequences, unsigned pairs,
                       unsigned width, unsigned classes) {
    ITEM;
    const unsigned label = item % classes, i = item / classes % width, member = item / classes / width;
    float sum = 0;
    for (unsigned b = 0; b < sequences; b++) {
        const size sequence = (size)member * sequences + b;
        for (unsigned pair = 0; pair + 1 < pairs; pair++)
            if (targets[sequence * pairs + pair] == label) sum += grad[(sequence * (2 * pairs - 1) + 2 * pair + 1) * width + i];
    }
    grad_labels[item] = sum;
}

// [K, D, places]: the sum over a member's sequences, zero beyond the last token.
KERNEL positions_backward(unsigned items, float *grad_positions, const float *grad, unsigned sequences, unsigned count, unsigned width,
                          unsigned places) {
    ITEM;
    const unsigned t = item % places, i = item / places % width, member = item / places / width;
    float sum = 0;
    for (unsigned b = 0; b < sequences && t < count; b++) sum += grad[(((size)member * sequences + b) * count + t) * width + i];
    grad_positions[item] = sum;
}

// ---- Cross-entropy ----

// [K, B]: -log softmax(logits)[target] of a row of C; sums [K, B, 2] are its maximum and log sum exp(x - maximum).
KERNEL cross_entropy(unsigned items, float *losses, float *sums, const float *logits, const unsigned *targets, unsigned classes) {
    ITEM;
    const float *row = logits + (size)item * classes;
    float largest = row[0], sum = 0;
    // Not a number if one is not.
    for (unsigned i = 1; i < classes; i++)
        if (row[i] > largest || row[i] != row[i]) largest = row[i];
    for (unsigned i = 0; i < classes; i++) sum += expf(row[i] - largest);
    losses[item] = largest + logf(sum) - row[targets[item]];
    sums[2 * (size)item] = largest;
    sums[2 * (size)item + 1] = logf(sum);
}

// [K]: the mean of a member's numbers.
KERNEL mean(unsigned items, float *means, const float *numbers, unsigned each) {
    ITEM;
    float sum = 0;
    for (unsigned i = 0; i < each; i++) sum += numbers[(size)item * each + i];
    means[item] = sum / each;
}

// [K, B, C]: softmax minus the target, shared out among the B sequences of a member.
KERNEL cross_entropy_backward(unsigned items, float *grad_logits, const float *logits, const float *sums, const unsigned *targets,
                              const float *grad, unsigned sequences, unsigned classes) {
    ITEM;
    const unsigned row = item / classes;
    const float share = grad[row / sequences] / sequences;
    const float probability = expf(logits[item] - sums[2 * (size)row] - sums[2 * (size)row + 1]);
    grad_logits[item] = share * probability - (targets[row] == item % classes ? share : 0);
}

// ---- GELU ----

// tanh(√(2/π)(x + 0.044715 x³)).
__device__ inline float bend(float x) {
    const float inner = 0.7978845608f * (x + 0.044715f * x * x * x);
    return 1 - 2 / (expf(inner + inner) + 1);
}

KERNEL gelu(unsigned items, float *y, const float *x) {
    ITEM;
    y[item] = 0.5f * x[item] * (1 + bend(x[item]));
}

KERNEL gelu_backward(unsigned items, float *grad_x, const float *x, const float *grad) {
    ITEM;
    const float at = x[item], t = bend(at), inner = 0.7978845608f * (1 + 3 * 0.044715f * at * at);
    grad_x[item] = grad[item] * (0.5f * (1 + t + at * (1 - t * t) * inner));
}

// ---- What is added to a linear layer's product ----

// [K, rows, O]: a bias [K, O].
KERNEL add_bias(unsigned items, float *y, const float *product, const float *bias, unsigned rows, unsigned outputs) {
    ITEM;
    y[item] = product[item] + bias[(size)(item / outputs / rows) * outputs + item % outputs];
}

KERNEL add_residual(unsigned items, float *y, const float *product, const float *residual) {
    ITEM;
    y[item] = product[item] + residual[item];
}

// [K, O]: the sum over a member's rows.
KERNEL bias_backward(unsigned items, float *grad_bias, const float *grad, unsigned rows, unsigned outputs) {
    ITEM;
    const unsigned member = item / outputs, i = item % outputs;
    float sum = 0;
    for (unsigned row = 0; row < rows; row++) sum += grad[((size)member * rows + row) * outputs + i];
    grad_bias[item] = sum;
}

// ---- Descent ----

// [K, LANES]: sums before, where given, and the squares of every LANES-th of a member's numbers.
KERNEL squares(unsigned items, float *sums, const float *before, const float *numbers, unsigned lanes, unsigned each) {
    ITEM;
    const float *own = numbers + (size)(item / lanes) * each;
    float sum = before ? before[item] : 0;
    for (unsigned i = item % lanes; i < each; i += lanes) sum += own[i] * own[i];
    sums[item] = sum;
}

// [K]: the root of a member's lanes.
KERNEL root_of_sum(unsigned items, float *roots, const float *sums, unsigned lanes) {
    ITEM;
    float sum = 0;
    for (unsigned i = 0; i < lanes; i++) sum += sums[(size)item * lanes + i];
    roots[item] = sqrtf(sum);
}

// What a member's gradient is multiplied with, so that its norm is at most `clip`; 0 is no clip.
__device__ inline float clipped(const float *norms, unsigned member, float clip) {
    return clip > 0 && norms[member] > clip ? clip / norms[member] : 1;
}

// θ [K, …] and its moments, in place: a step of Adam with rates [K]; the corrections are 1/(1 - β₁ᵗ) and 1/√(1 - β₂ᵗ).
KERNEL adam(unsigned items, float *parameter, float *first, float *second, const float *grad, const float *rates, const float *norms, unsigned each,
            float clip, float first_correction, float second_correction) {
    ITEM;
    const unsigned member = item / each;
    const float g = clipped(norms, member, clip) * grad[item];
    const float m = 0.9f * first[item] + 0.1f * g, v = 0.999f * second[item] + 0.001f * (g * g);
    first[item] = m;
    second[item] = v;
    parameter[item] -= rates[member] * first_correction * m / (sqrtf(v) * second_correction + 1e-8f);
}

// θ [K, …], in place: gradient descent with rates [K].
KERNEL descend(unsigned items, float *parameter, const float *grad, const float *rates, const float *norms, unsigned each, float clip) {
    ITEM;
    const unsigned member = item / each;
    parameter[item] -= rates[member] * clipped(norms, member, clip) * grad[item];
}
