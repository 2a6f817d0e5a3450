// An adapter of 'tacit bench' for HElib, with as many threads as the set-up says where NTL
// was built with threads.
#include <NTL/BasicThreadPool.h>
#include <helib/helib.h>

#include <sstream>

#include "adapter.hpp"

using adapter::Values;

namespace {

constexpr int columns = 3;    // of key-switching matrices
constexpr int precision = 30; // bits, of CKKS

/// A prime that is 1 modulo the order has a slot for every coefficient, in two dimensions.
uint64_t plaintextModulus(const adapter::Needs &needs, long m) { return adapter::primeAbove(needs.max, m); }

/// A context over a ring of a power of two with a modulus for the depth and more levels: a
/// rotation through two dimensions multiplies with masks, which takes as much as a multiplication.
helib::Context build(const adapter::Needs &needs, int more, long m) {
    if (needs.reals()) {
        const long bits = 60 + 45 * (needs.depth + 1);
        return helib::ContextBuilder<helib::CKKS>().m(m).precision(precision).bits(bits).c(columns).build();
    }
    const long p = long(plaintextModulus(needs, m));
    const long bits = long((needs.depth + 1 + more) * (std::log2(p) + 22));
    return helib::ContextBuilder<helib::BGV>().m(m).p(p).r(1).bits(bits).c(columns).build();
}

/// The order of the smallest ring with at least 128 bits of security.
long order(const adapter::Needs &needs, int more) {
    for (long m = 1 << 13; m <= 1 << 16; m *= 2)
        if (build(needs, more, m).securityLevel() >= 128) return m;
    throw std::invalid_argument("no ring is large enough");
}

template <class T> std::string bytesOf(const T &object) {
    std::ostringstream out(std::ios::binary);
    object.writeTo(out);
    return out.str();
}

class Session {
    adapter::Needs needs;
    helib::Context context;
    helib::SecKey secret;                   // of the client
    std::unique_ptr<helib::PubKey> server; // as it was read from bytes: HElib has evaluation keys in it

    void load(helib::PtxtArray &p, const Values &v) const {
        if (needs.reals()) p.load(v);
        else p.load(std::vector<long>(v.begin(), v.end()));
    }

  public:
    using Choice = int; // levels more than the depth
    using Ciphertext = helib::Ctxt;
    adapter::json about;
    size_t slots;
    uint64_t modulus;
    double work = 0;

    static std::vector<std::vector<Choice>> choices(const adapter::Needs &needs) {
        std::vector<std::vector<Choice>> all;
        for (int more = 0; more <= int(needs.rotations.size()) + 2; more++) all.push_back({more});
        return all;
    }

    Session(const adapter::Needs &asked, int more)
        : needs(asked), context(build(asked, more, order(asked, more))), secret(context), slots(context.getNSlots()),
          modulus(needs.reals() ? 0 : plaintextModulus(needs, context.getM())) {
        NTL::SetNumThreads(needs.threads);
        const adapter::Clock clock;
        secret.GenSecKey();
        helib::addSome1DMatrices(secret);
        const double keygen = clock.seconds();
        const helib::PubKey &publicKey = secret;
        const std::string bytes = bytesOf(publicKey);
        std::istringstream in(bytes, std::ios::binary);
        server.reset(new helib::PubKey(helib::PubKey::readFrom(in, context)));

        const double security = context.securityLevel();
        const std::string set = "m" + std::to_string(context.getM()) + "-q" + std::to_string(context.bitSizeOfQ());
        about = {
            {"set", set + (needs.reals() ? "-precision" + std::to_string(precision) : "-p" + std::to_string(context.getP()))},
            {"security_bits", security},
            {"assumption", std::to_string(int(security)) + " bits: HElib's own estimate"},
            {"description", {{"m", context.getM()}, {"p", context.getP()}, {"modulus_bits", context.bitSizeOfQ()}, {"columns", columns}}},
            {"keygen_seconds", keygen},
            {"evaluation_key_bytes", bytes.size()},
            {"evaluation_key_memory_bytes", bytes.size()},
            {"public_key_bytes", bytes.size()},
        };
    }

    std::string encrypt(const Values &v) const {
        helib::PtxtArray p(context);
        load(p, v);
        const helib::PubKey &publicKey = secret;
        helib::Ctxt c(publicKey);
        p.encrypt(c);
        return bytesOf(c);
    }
    Values decrypt(const std::string &bytes) const {
        std::istringstream in(bytes, std::ios::binary);
        const helib::Ctxt c = helib::Ctxt::readFrom(in, secret);
        helib::PtxtArray p(context);
        p.decrypt(c, secret);
        Values out;
        if (needs.reals()) {
            p.store(out);
            return out;
        }
        std::vector<long> whole;
        p.store(whole);
        return Values(whole.begin(), whole.end());
    }
    Ciphertext load(const std::string &bytes) const {
        std::istringstream in(bytes, std::ios::binary);
        return helib::Ctxt::readFrom(in, *server);
    }
    std::string store(const Ciphertext &c) const { return bytesOf(c); }

    // HElib rescales, relinearises and aligns levels by itself.
    Ciphertext add(Ciphertext a, const Ciphertext &b) const {
        a += b;
        return a;
    }
    Ciphertext sub(Ciphertext a, const Ciphertext &b) const {
        a -= b;
        return a;
    }
    Ciphertext mul(Ciphertext a, const Ciphertext &b) const {
        a.multiplyBy(b);
        return a;
    }
    Ciphertext mulPlain(Ciphertext a, const Values &v) const {
        helib::PtxtArray p(context);
        load(p, v);
        a *= p;
        return a;
    }
    Ciphertext addPlain(Ciphertext a, const Values &v) const {
        helib::PtxtArray p(context);
        load(p, v);
        a += p;
        return a;
    }
    Ciphertext rotate(Ciphertext a, int k) const {
        helib::rotate(a, -k);
        return a;
    }
};

} // namespace

int main() {
    adapter::serve<Session>("helib", helib::version::asString, "native", {"bgv", "ckks"});
}
