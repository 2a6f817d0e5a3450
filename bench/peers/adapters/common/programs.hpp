// The workloads of bench/workloads that BGV, BFV and CKKS can express, on vectors. An
// item takes a stride of slots, a power of two, and the next items follow it.
#pragma once

#include <cmath>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace adapter {

using Values = std::vector<double>; // of slots; integers below 2^53 under BGV and BFV

inline int powerOfTwo(int n) {
    int p = 1;
    while (p < n) p *= 2;
    return p;
}

inline std::vector<int> halvings(int n) {
    std::vector<int> steps;
    for (int k = n / 2; k >= 1; k /= 2) steps.push_back(k);
    return steps;
}

/// What a program needs and how its inputs lie in slots; what computes is in compute.
struct Program {
    using Split = std::function<std::vector<Values>(int, const Values &)>;
    bool integers = true; // BGV and BFV run it, and not CKKS alone
    int depth = 0;        // multiplications that follow each other
    std::function<double(int)> max = [](int) { return 1 << 14; }; // of the absolute values of all numbers
    int bits = 0;                                                 // CKKS computes on inputs divided by 2^bits
    std::vector<int> degrees = {1}; // of the results by ciphertext, the last one for all that follow, for CKKS
    std::function<int(int)> inputs = [](int) { return 1; };       // ciphertexts of an item
    Split split = [](int, const Values &v) { return std::vector<Values>{v}; }; // one for each of them
    std::function<int(int)> stride = powerOfTwo;
    std::function<int(int)> results = [](int) { return 1; }; // values of an item in each ciphertext of the result
    std::function<std::vector<int>(int)> rotations = [](int) { return std::vector<int>{}; };

    double unit(size_t i) const { return std::exp2(bits * degrees[std::min(i, degrees.size() - 1)]); }
};

inline int stored(int i) { return (73 * i * i + 41 * i + 7) % 251; }

const std::vector<std::vector<double>> networkHidden = {{2, -1, 3, 1}, {-3, 2, 1, -2}, {1, 1, -2, 3}, {-1, 3, -1, -3}};
const std::vector<std::vector<double>> networkOutput = {{2, -1, 1, -3}, {-2, 3, -1, 1}};
const double networkBias = 400000;

inline const std::map<std::string, Program> &programs() {
    static const std::map<std::string, Program> all = [] {
        const Program::Split apart = [](int, const Values &v) {
            std::vector<Values> out;
            for (double x : v) out.push_back({x});
            return out;
        };
        const auto alone = [](int) { return 1; };
        const auto two = [](int) { return 2; };
        const auto folds = [](int n) { return halvings(powerOfTwo(n)); };

        Program votes;
        votes.max = [](int n) { return n; };
        votes.rotations = folds;

        Program chi;
        chi.depth = 2, chi.bits = 6, chi.degrees = {4, 2}, chi.split = apart, chi.stride = alone;
        chi.inputs = [](int) { return 3; };
        chi.max = [](int) { return std::pow(4 * 63 * 63, 2); };

        Program hamming = votes;
        hamming.depth = 1, hamming.degrees = {2}, hamming.inputs = two;
        hamming.split = [](int n, const Values &v) { return std::vector<Values>{Values(v.begin(), v.begin() + n), Values(v.begin() + n, v.end())}; };
        Program euclidean = hamming;
        euclidean.bits = 8;
        euclidean.max = [](int n) { return n * 65536.0; };

        Program logistic;
        logistic.integers = false, logistic.depth = 6, logistic.bits = 5, logistic.rotations = halvings;

        Program matrix;
        matrix.depth = 1, matrix.bits = 8, matrix.degrees = {2}, matrix.max = euclidean.max;
        matrix.inputs = [](int n) { return 2 * n; };
        matrix.stride = [](int n) { return powerOfTwo(n * n); };
        matrix.results = [](int n) { return n * n; };
        // For every k column k of the first and row k of the second, repeated to whole matrices.
        matrix.split = [](int n, const Values &v) {
            std::vector<Values> out(2 * n);
            for (int k = 0; k < n; k++)
                for (int i = 0; i < n * n; i++) {
                    out[k].push_back(v[i / n * n + k]);
                    out[n + k].push_back(v[n * n + k * n + i % n]);
                }
            return out;
        };

        Program network;
        network.depth = 3, network.bits = 4, network.degrees = {2};
        network.max = [](int) { return 1 << 20; };
        network.split = [](int, const Values &v) { // the inputs once for every neuron
            Values out;
            for (size_t i = 0; i < networkHidden.size(); i++) out.insert(out.end(), v.begin(), v.end());
            return std::vector<Values>{out};
        };
        network.stride = [](int n) { return n * int(networkHidden.size()); };
        network.rotations = [](int n) { return halvings(n * int(networkHidden.size())); };

        Program retrieval;
        retrieval.depth = 1, retrieval.rotations = halvings;
        retrieval.max = [](int) { return 255; };
        retrieval.split = [](int n, const Values &v) {
            Values query(n);
            query.at(size_t(v[0])) = 1;
            return std::vector<Values>{query};
        };

        Program fibonacci;
        fibonacci.bits = 8, fibonacci.inputs = two, fibonacci.split = apart, fibonacci.stride = alone;
        fibonacci.max = [](int n) { return std::exp2(8 + 7 * n / 10); };

        Program add;
        add.bits = 7, add.inputs = two, add.split = apart, add.stride = alone;
        Program mulPlain = add, mul = add, rotate;
        mulPlain.depth = mul.depth = 1, mulPlain.inputs = alone, mul.degrees = {2};
        rotate.bits = 7;
        rotate.max = [](int) { return 1 << 7; };
        rotate.rotations = [](int) { return std::vector<int>{1}; };

        return std::map<std::string, Program>{
            {"votes", votes}, {"chi-squared", chi}, {"euclidean", euclidean}, {"hamming", hamming}, {"logistic", logistic},
            {"matrix", matrix}, {"network", network}, {"retrieval", retrieval}, {"fibonacci", fibonacci}, {"vector-add", add},
            {"vector-mul", mul}, {"vector-mul-plain", mulPlain}, {"vector-rotate", rotate}};
    }();
    return all;
}

/// The coefficients of the Chebyshev series of a degree of f on [-1, 1].
inline Values chebyshev(const std::function<double(double)> &f, int degree) {
    const int n = degree + 1;
    Values c(n);
    for (int k = 0; k < n; k++) {
        for (int j = 0; j < n; j++) {
            const double node = M_PI * (j + 0.5) / n;
            c[k] += f(std::cos(node)) * std::cos(k * node) * (k ? 2.0 : 1.0) / n;
        }
    }
    return c;
}

/// Operations of a library's session on items of a stride.
template <class Session> struct Vectors {
    using C = typename Session::Ciphertext;
    Session &s;
    int stride;
    bool reals;

    Values tile(const Values &item) const {
        Values out(s.slots);
        for (size_t i = 0; i < s.slots; i++) out[i] = i % stride < item.size() ? item[i % stride] : 0;
        return out;
    }
    C mulPlain(const C &a, const Values &item) { return s.mulPlain(a, tile(item)); }
    C addPlain(const C &a, const Values &item) { return s.addPlain(a, tile(item)); }
    C twice(const C &a) { return s.add(a, a); }
    /// Slot i becomes the sum of the n, a power of two, from i on.
    C innerSum(C a, int n) {
        for (int k : halvings(n)) a = s.add(a, s.rotate(a, k));
        return a;
    }

    /// The probability in units of 32 of z/2048, whose absolute value is 1 at most.
    C sigmoid(const C &x, int n) {
        const Values c = chebyshev([](double x) { return 8 / (1 + std::exp(-8 * x)); }, 15);
        std::map<int, C> t{{1, x}};
        const auto square = [&](int k) { t.insert_or_assign(2 * k, addPlain(twice(s.mul(t.at(k), t.at(k))), Values(n, -1))); };
        const auto step = [&](int k, int j) { t.insert_or_assign(k + j, s.sub(twice(s.mul(t.at(k), t.at(j))), t.at(k - j))); };
        square(1), square(2), square(4);
        step(2, 1), step(4, 1), step(4, 3);
        for (int j : {1, 3, 5, 7}) step(8, j);
        C sum = mulPlain(t.at(1), Values(n, c[1])); // but for the constant, the function is odd
        for (int k = 3; k <= 15; k += 2) sum = s.add(mulPlain(t.at(k), Values(n, c[k])), sum);
        return addPlain(sum, Values(n, c[0]));
    }

    std::vector<C> compute(const std::string &name, int n, const std::vector<C> &in) {
        if (name == "votes") return {innerSum(in[0], powerOfTwo(n))};
        if (name == "chi-squared") {
            const C d = s.sub(twice(twice(s.mul(in[0], in[2]))), s.mul(in[1], in[1]));
            const C b = s.add(twice(in[0]), in[1]), c = s.add(twice(in[2]), in[1]);
            return {s.mul(d, d), twice(s.mul(b, b)), s.mul(b, c), twice(s.mul(c, c))};
        }
        if (name == "euclidean" || name == "hamming") {
            const C d = s.sub(in[0], in[1]);
            return {innerSum(s.mul(d, d), powerOfTwo(n))};
        }
        if (name == "logistic") {
            Values weights = {3, -5, 7, 1, -2, -7, 4, 6};
            for (double &w : weights) w /= 64;
            return {sigmoid(addPlain(innerSum(mulPlain(in[0], weights), n), Values(n, -90.0 / 2048)), n)};
        }
        if (name == "matrix") {
            C sum = s.mul(in[0], in[n]);
            for (int k = 1; k < n; k++) sum = s.add(sum, s.mul(in[k], in[n + k]));
            return {sum};
        }
        if (name == "network") {
            Values weights;
            for (const Values &w : networkHidden) weights.insert(weights.end(), w.begin(), w.end());
            C h = innerSum(mulPlain(in[0], weights), n);
            h = s.mul(h, h);
            std::vector<C> out;
            for (const Values &w : networkOutput) {
                Values spread(n * w.size()); // neuron j is in slot n·j
                for (size_t j = 0; j < w.size(); j++) spread[n * j] = w[j];
                out.push_back(addPlain(innerSum(mulPlain(h, spread), int(spread.size())), Values(spread.size(), reals ? networkBias / 256 : networkBias)));
            }
            return out;
        }
        if (name == "retrieval") {
            Values bytes(n);
            for (int i = 0; i < n; i++) bytes[i] = stored(i);
            return {innerSum(mulPlain(in[0], bytes), n)};
        }
        if (name == "fibonacci") {
            C a = in[0], b = in[1];
            for (int i = 1; i < n; i++) {
                const C next = s.add(a, b);
                a = b, b = next;
            }
            return {b};
        }
        if (name == "vector-add") return {s.add(in[0], in[1])};
        if (name == "vector-mul") return {s.mul(in[0], in[1])};
        if (name == "vector-mul-plain") return {mulPlain(in[0], {3})};
        if (name == "vector-rotate") return {s.rotate(in[0], 1)};
        throw std::invalid_argument("there is no program " + name);
    }
};

} // namespace adapter
