// An adapter that computes in the clear: a test of what the adapters in C++ share.
#include "../adapter.hpp"

using adapter::Values;

struct Session {
    using Ciphertext = Values;
    adapter::json about;
    size_t slots = 1024;

    explicit Session(const adapter::Needs &needs)
        : about{{"set", "clear"}, {"security_bits", 0}, {"threads", 1}, {"keygen_seconds", 1e-9}, {"description", needs.rotations}} {}

    std::string encrypt(const Values &v) { return adapter::json(v).dump(); }
    Values decrypt(const std::string &bytes) { return load(bytes); }
    Ciphertext load(const std::string &bytes) { return adapter::json::parse(bytes).get<Values>(); }
    std::string store(const Ciphertext &c) { return encrypt(c); }

    template <class F> Ciphertext each(Ciphertext a, const Values &b, F f) {
        for (size_t i = 0; i < slots; i++) a.at(i) = f(a.at(i), b.at(i));
        return a;
    }
    Ciphertext add(const Ciphertext &a, const Ciphertext &b) { return each(a, b, std::plus<double>()); }
    Ciphertext sub(const Ciphertext &a, const Ciphertext &b) { return each(a, b, std::minus<double>()); }
    Ciphertext mul(const Ciphertext &a, const Ciphertext &b) { return each(a, b, std::multiplies<double>()); }
    Ciphertext mulPlain(const Ciphertext &a, const Values &v) { return mul(a, v); }
    Ciphertext addPlain(const Ciphertext &a, const Values &v) { return add(a, v); }
    Ciphertext rotate(Ciphertext a, int k) {
        const adapter::json &keys = about.at("description");
        if (std::find(keys.begin(), keys.end(), k) == keys.end()) throw std::invalid_argument("no key rotates by " + std::to_string(k));
        std::rotate(a.begin(), a.begin() + k, a.end());
        return a;
    }
};

int main() { adapter::serve<Session>("clear", "1", "", {"bgv", "ckks"}); }
