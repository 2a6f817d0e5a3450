// An adapter of 'tacit bench' for Microsoft SEAL, which has one thread.
#include <seal/seal.h>
#include <sstream>

#include "adapter.hpp"

using adapter::Values;

namespace {

constexpr int scaleBits = 40;
constexpr auto level = seal::sec_level_type::tc128;

/// The bytes of an object of SEAL, compressed as SEAL does by default.
template <class T> std::string bytesOf(const T &object) {
    std::ostringstream out(std::ios::binary);
    object.save(out);
    return out.str();
}

template <class T> T read(const seal::SEALContext &context, const std::string &bytes) {
    std::istringstream in(bytes, std::ios::binary);
    T object;
    object.load(context, in);
    return object;
}

/// A set: the first primes of SEAL's modulus for a ring, with its last one for the keys, and
/// whether BGV switches moduli after multiplications, which makes what follows quicker
/// and leaves it less noise budget. CKKS always does, and has a chain of its own.
struct Choice {
    size_t degree, primes;
    bool switches;
};

/// Bits of the primes of CKKS.
std::vector<int> levels(const adapter::Needs &needs) {
    std::vector<int> chain(needs.depth + 2, scaleBits);
    chain.front() = chain.back() = 60;
    return chain;
}

/// All choices of at least 128 bits of security by ring.
std::vector<std::vector<Choice>> choices(const adapter::Needs &needs) {
    std::vector<std::vector<Choice>> all;
    for (size_t degree : {4096, 8192, 16384, 32768}) {
        std::vector<Choice> ring;
        if (needs.reals()) {
            if (120 + needs.depth * scaleBits <= seal::CoeffModulus::MaxBitCount(degree, level)) ring.push_back({degree, 0, true});
        } else {
            const size_t most = seal::CoeffModulus::BFVDefault(degree, level).size() - 1;
            for (size_t primes = 1; primes <= most; primes++) {
                ring.push_back({degree, primes, false});
                if (needs.scheme == "bgv" && needs.depth > 0 && size_t(needs.depth) < primes) ring.push_back({degree, primes, true});
            }
        }
        all.push_back(ring);
    }
    return all;
}

seal::EncryptionParameters parameters(const adapter::Needs &needs, const Choice &choice) {
    if (needs.reals()) {
        seal::EncryptionParameters p(seal::scheme_type::ckks);
        p.set_poly_modulus_degree(choice.degree);
        p.set_coeff_modulus(seal::CoeffModulus::Create(choice.degree, levels(needs)));
        return p;
    }
    std::vector<seal::Modulus> modulus = seal::CoeffModulus::BFVDefault(choice.degree, level);
    modulus.erase(modulus.begin() + choice.primes, modulus.end() - 1);
    seal::EncryptionParameters p(needs.scheme == "bgv" ? seal::scheme_type::bgv : seal::scheme_type::bfv);
    p.set_poly_modulus_degree(choice.degree);
    p.set_coeff_modulus(modulus);
    p.set_plain_modulus(adapter::primeAbove(needs.max, 2 * choice.degree));
    return p;
}

class Session {
    adapter::Needs needs;
    bool switches;
    seal::EncryptionParameters parms;
    seal::SEALContext context;
    seal::Evaluator ops;
    std::unique_ptr<seal::BatchEncoder> integers; // one of the two
    std::unique_ptr<seal::CKKSEncoder> reals;
    seal::SecretKey secret;
    std::unique_ptr<seal::Encryptor> encryptor;
    std::unique_ptr<seal::Decryptor> decryptor;
    seal::RelinKeys relin; // as they were read from bytes, like the others
    seal::GaloisKeys galois;

    seal::Plaintext encode(const Values &slots, double scale) const {
        seal::Plaintext p;
        if (reals) reals->encode(slots, scale, p);
        else integers->encode(std::vector<int64_t>(slots.begin(), slots.end()), p);
        return p;
    }
    size_t chainIndex(const seal::Ciphertext &c) const { return context.get_context_data(c.parms_id())->chain_index(); }

    /// Both at the level of the lower one, and of one scale: primes of the modulus are near
    /// 2^40, so that scales of the same degree differ by little.
    void align(seal::Ciphertext &a, seal::Ciphertext &b) const {
        if (chainIndex(a) > chainIndex(b)) ops.mod_switch_to_inplace(a, b.parms_id());
        if (chainIndex(b) > chainIndex(a)) ops.mod_switch_to_inplace(b, a.parms_id());
        if (reals) b.scale() = a.scale();
    }
    void rescale(seal::Ciphertext &c) {
        if (!switches) return;
        work += 2 * c.coeff_modulus_size();
        if (reals) ops.rescale_to_next_inplace(c);
        else ops.mod_switch_to_next_inplace(c);
    }
    void keySwitch(const seal::Ciphertext &c) { work += (c.coeff_modulus_size() + 1) * (c.coeff_modulus_size() + 2); }

  public:
    using Choice = ::Choice;
    using Ciphertext = seal::Ciphertext;
    adapter::json about;
    size_t slots;
    uint64_t modulus;
    double work = 0; // transforms of key switches and of switches of the modulus

    static std::vector<std::vector<Choice>> choices(const adapter::Needs &needs) { return ::choices(needs); }

    Session(const adapter::Needs &asked, const Choice &choice)
        : needs(asked), switches(choice.switches), parms(parameters(asked, choice)), context(parms, true, level), ops(context),
          modulus(parms.plain_modulus().value()) {
        if (!context.parameters_set()) throw std::invalid_argument(context.parameter_error_message());
        const adapter::Clock clock;
        seal::KeyGenerator generator(context);
        secret = generator.secret_key();
        const std::string publicBytes = bytesOf(generator.create_public_key());
        const std::string relinBytes = bytesOf(generator.create_relin_keys());
        const std::string galoisBytes = needs.rotations.empty() ? "" : bytesOf(generator.create_galois_keys(needs.rotations));
        const double keygen = clock.seconds();

        relin = read<seal::RelinKeys>(context, relinBytes);
        auto memory = relin.save_size(seal::compr_mode_type::none);
        if (!galoisBytes.empty()) {
            galois = read<seal::GaloisKeys>(context, galoisBytes);
            memory += galois.save_size(seal::compr_mode_type::none);
        }
        encryptor = std::make_unique<seal::Encryptor>(context, read<seal::PublicKey>(context, publicBytes), secret);
        decryptor = std::make_unique<seal::Decryptor>(context, secret);
        if (needs.reals()) reals = std::make_unique<seal::CKKSEncoder>(context);
        else integers = std::make_unique<seal::BatchEncoder>(context);
        slots = reals ? reals->slot_count() : integers->slot_count();

        const size_t degree = parms.poly_modulus_degree();
        const int bits = context.key_context_data()->total_coeff_modulus_bit_count();
        const std::string t = std::to_string(modulus) + (switches ? "-switched" : "");
        const std::string of = std::to_string(bits) + " of " + std::to_string(seal::CoeffModulus::MaxBitCount(degree, level));
        about = {
            {"set", "n" + std::to_string(degree) + "-q" + std::to_string(bits) + (reals ? "-scale" + std::to_string(scaleBits) : "-t" + t) + "-rot" + std::to_string(needs.rotations.size())},
            {"security_bits", 128},
            {"assumption", "128 bits: ring-LWE with a ternary key, " + of + " bits of modulus (SEAL's tc128)"},
            {"description", {{"degree", degree}, {"modulus_bits", bits}, {"plaintext_modulus", modulus}, {"modulus_switching", switches && !reals}, {"rotations", needs.rotations}}},
            {"threads", 1},
            {"keygen_seconds", keygen},
            {"evaluation_key_bytes", relinBytes.size() + galoisBytes.size()},
            {"evaluation_key_memory_bytes", memory},
            {"public_key_bytes", publicBytes.size()},
        };
    }

    std::string encrypt(const Values &v) const { return bytesOf(encryptor->encrypt_symmetric(encode(v, std::exp2(scaleBits)))); }
    Values decrypt(const std::string &bytes) const {
        seal::Plaintext p;
        decryptor->decrypt(load(bytes), p);
        Values out;
        if (reals) {
            reals->decode(p, out);
            return out;
        }
        std::vector<int64_t> whole;
        integers->decode(p, whole);
        return Values(whole.begin(), whole.end());
    }
    Ciphertext load(const std::string &bytes) const { return read<seal::Ciphertext>(context, bytes); }
    std::string store(const Ciphertext &c) const { return bytesOf(c); }

    Ciphertext add(Ciphertext a, Ciphertext b) const {
        align(a, b);
        ops.add_inplace(a, b);
        return a;
    }
    Ciphertext sub(Ciphertext a, Ciphertext b) const {
        align(a, b);
        ops.sub_inplace(a, b);
        return a;
    }
    Ciphertext mul(const Ciphertext &x, const Ciphertext &y) {
        Ciphertext a = x;
        if (&x == &y) {
            ops.square_inplace(a);
        } else {
            Ciphertext b = y;
            align(a, b);
            ops.multiply_inplace(a, b);
        }
        keySwitch(a);
        ops.relinearize_inplace(a, relin);
        rescale(a);
        return a;
    }
    Ciphertext mulPlain(Ciphertext a, const Values &v) {
        seal::Plaintext p = encode(v, std::exp2(scaleBits));
        if (reals) ops.mod_switch_to_inplace(p, a.parms_id());
        ops.multiply_plain_inplace(a, p);
        rescale(a);
        return a;
    }
    Ciphertext addPlain(Ciphertext a, const Values &v) const {
        seal::Plaintext p = encode(v, a.scale());
        if (reals) ops.mod_switch_to_inplace(p, a.parms_id());
        ops.add_plain_inplace(a, p);
        return a;
    }
    Ciphertext rotate(Ciphertext a, int k) {
        keySwitch(a);
        if (reals) ops.rotate_vector_inplace(a, k, galois);
        else ops.rotate_rows_inplace(a, k, galois);
        return a;
    }
};

} // namespace

int main() {
    adapter::serve<Session>("seal", SEAL_VERSION, "native, one thread", {"bgv", "bfv", "ckks"});
}
