// An adapter that computes in the clear: a test of what the adapters in C++ share.
#include "../adapter.hpp"

using adapter::Values;

/// An error of every decryption, as of noise that is too much, and the work of an operation.
struct Choice {
    int error, work;
};

struct Session {
    using Choice = ::Choice;
    using Ciphertext = Values;
    adapter::json about;
    size_t slots = 1024;
    uint64_t modulus;
    double work = 0;
    Choice choice;

    /// Rings with a choice that is refused, with none that is sound, and with three that are.
    static std::vector<std::vector<Choice>> choices(const adapter::Needs &) { return {{{0, 0}}, {{1, 1}, {-1, 1}}, {{0, 9}, {0, 2}, {0, 3}, {1, 1}}, {{0, 1}}}; }

    Session(const adapter::Needs &needs, const Choice &choice)
        : about{{"set", "clear" + std::to_string(choice.work)}, {"security_bits", 0}, {"threads", 1}, {"keygen_seconds", 1e-9}, {"description", needs.rotations}},
          modulus(needs.reals() ? 0 : adapter::primeAbove(needs.max, 2 * slots)), choice(choice) {
        if (!choice.work) throw std::invalid_argument("no work");
    }

    std::string encrypt(const Values &v) { return std::string(reinterpret_cast<const char *>(v.data()), v.size() * sizeof(double)); }
    Values decrypt(const std::string &bytes) {
        Values v = load(bytes);
        if (modulus) v.back() += choice.error;
        return v;
    }
    Ciphertext load(const std::string &bytes) {
        Values v(bytes.size() / sizeof(double));
        bytes.copy(reinterpret_cast<char *>(v.data()), bytes.size());
        return v;
    }
    std::string store(const Ciphertext &c) { return encrypt(c); }

    template <class F> Ciphertext each(Ciphertext a, const Values &b, F f) {
        work += choice.work;
        for (size_t i = 0; i < slots; i++) a.at(i) = modulus ? reduced(f(__int128(a[i]), __int128(b.at(i)))) : double(f(a.at(i), b.at(i)));
        return a;
    }
    double reduced(__int128 x) const {
        const __int128 t = modulus, r = (x % t + t) % t;
        return double(r > t / 2 ? r - t : r);
    }
    Ciphertext add(const Ciphertext &a, const Ciphertext &b) { return each(a, b, std::plus<>()); }
    Ciphertext sub(const Ciphertext &a, const Ciphertext &b) { return each(a, b, std::minus<>()); }
    Ciphertext mul(const Ciphertext &a, const Ciphertext &b) { return each(a, b, std::multiplies<>()); }
    Ciphertext mulPlain(const Ciphertext &a, const Values &v) { return mul(a, v); }
    Ciphertext addPlain(const Ciphertext &a, const Values &v) { return add(a, v); }
    Ciphertext rotate(Ciphertext a, int k) {
        const adapter::json &keys = about.at("description");
        if (std::find(keys.begin(), keys.end(), k) == keys.end()) throw std::invalid_argument("no key rotates by " + std::to_string(k));
        work += choice.work;
        std::rotate(a.begin(), a.begin() + k, a.end());
        return a;
    }
};

int main() { adapter::serve<Session>("clear", "1", "", {"bgv", "ckks"}); }
