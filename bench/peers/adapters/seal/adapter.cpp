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

/// The smallest set of at least 128 bits of security that has the depth and the range.
seal::EncryptionParameters parameters(const adapter::Needs &needs) {
    std::vector<int> chain(needs.depth + 2, scaleBits);
    chain.front() = chain.back() = 60;
    const int bits = std::max(int(std::log2(2 * needs.max)) + 1, 20); // of the plaintext modulus
    for (size_t degree : {4096, 8192, 16384, 32768}) {
        const int total = seal::CoeffModulus::MaxBitCount(degree, level);
        if (needs.reals()) {
            if (120 + needs.depth * scaleBits > total) continue;
            seal::EncryptionParameters p(seal::scheme_type::ckks);
            p.set_poly_modulus_degree(degree);
            p.set_coeff_modulus(seal::CoeffModulus::Create(degree, chain));
            return p;
        }
        // A multiplication takes as many bits as the plaintext modulus has, and about 20.
        if ((needs.depth + 1) * (bits + 20) > total * 0.8) continue;
        seal::EncryptionParameters p(needs.scheme == "bgv" ? seal::scheme_type::bgv : seal::scheme_type::bfv);
        p.set_poly_modulus_degree(degree);
        p.set_coeff_modulus(seal::CoeffModulus::BFVDefault(degree, level));
        p.set_plain_modulus(seal::PlainModulus::Batching(degree, bits));
        return p;
    }
    throw std::invalid_argument("no set is deep enough");
}

class Session {
    adapter::Needs needs;
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
    void rescale(seal::Ciphertext &c) const {
        if (needs.scheme == "ckks") ops.rescale_to_next_inplace(c);
        if (needs.scheme == "bgv") ops.mod_switch_to_next_inplace(c);
    }

  public:
    using Ciphertext = seal::Ciphertext;
    adapter::json about;
    size_t slots;

    explicit Session(const adapter::Needs &asked) : needs(asked), parms(parameters(asked)), context(parms, true, level), ops(context) {
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
        const std::string t = std::to_string(parms.plain_modulus().value());
        const std::string of = std::to_string(bits) + " of " + std::to_string(seal::CoeffModulus::MaxBitCount(degree, level));
        about = {
            {"set", "n" + std::to_string(degree) + "-q" + std::to_string(bits) + (reals ? "-scale" + std::to_string(scaleBits) : "-t" + t)},
            {"security_bits", 128},
            {"assumption", "128 bits: ring-LWE with a ternary key, " + of + " bits of modulus (SEAL's tc128)"},
            {"description", {{"degree", degree}, {"modulus_bits", bits}, {"plaintext_modulus", t}, {"rotations", needs.rotations}}},
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
    Ciphertext mul(const Ciphertext &x, const Ciphertext &y) const {
        Ciphertext a = x;
        if (&x == &y) {
            ops.square_inplace(a);
        } else {
            Ciphertext b = y;
            align(a, b);
            ops.multiply_inplace(a, b);
        }
        ops.relinearize_inplace(a, relin);
        rescale(a);
        return a;
    }
    Ciphertext mulPlain(Ciphertext a, const Values &v) const {
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
    Ciphertext rotate(Ciphertext a, int k) const {
        if (reals) ops.rotate_vector_inplace(a, k, galois);
        else ops.rotate_rows_inplace(a, k, galois);
        return a;
    }
};

} // namespace

int main() {
    adapter::serve<Session>("seal", SEAL_VERSION, "native, one thread", {"bgv", "bfv", "ckks"});
}
