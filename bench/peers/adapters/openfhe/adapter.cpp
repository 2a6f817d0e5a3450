// An adapter of 'tacit bench' for OpenFHE, with as many threads as the set-up says where
// it was built with OpenMP.
#include <openfhe.h>

#include <ciphertext-ser.h>
#include <cryptocontext-ser.h>
#include <key/key-ser.h>
#include <scheme/bfvrns/bfvrns-ser.h>
#include <scheme/bgvrns/bgvrns-ser.h>
#include <scheme/ckksrns/ckksrns-ser.h>

#include <sstream>

#include "adapter.hpp"

using namespace lbcrypto;
using adapter::Values;

namespace {

using Context = CryptoContextImpl<DCRTPoly>;

constexpr int scaleBits = 45; // of CKKS: a result may be 2^14, as the first modulus has 60

template <class T> std::string bytesOf(const T &object) {
    std::ostringstream out(std::ios::binary);
    Serial::Serialize(object, out, SerType::BINARY);
    return out.str();
}

template <class T> T read(const std::string &bytes) {
    std::istringstream in(bytes, std::ios::binary);
    T object;
    Serial::Deserialize(object, in, SerType::BINARY);
    return object;
}

/// A context of at least 128 bits of security, whose ring OpenFHE chooses.
template <class Scheme> CryptoContext<DCRTPoly> contextOf(CCParams<Scheme> p, int depth) {
    p.SetSecurityLevel(HEStd_128_classic);
    p.SetMultiplicativeDepth(std::max(depth, 1));
    return GenCryptoContext(p);
}

/// The plaintext modulus, for rings of up to 2^15 coefficients.
uint64_t plaintextModulus(const adapter::Needs &needs) { return adapter::primeAbove(needs.max, 1 << 16); }

constexpr int mostRoom = 8;

/// A context with room for noise of additions and key switches: of 4^(room+1) of them at each level of
/// BGV, and as much as room multiplications make in BFV, where OpenFHE does not take both.
CryptoContext<DCRTPoly> makeContext(const adapter::Needs &needs, int room) {
    if (needs.scheme == "ckks") {
        CCParams<CryptoContextCKKSRNS> p;
        p.SetFirstModSize(60);
        p.SetScalingModSize(scaleBits);
        return contextOf(p, needs.depth);
    }
    if (needs.scheme == "bgv") {
        CCParams<CryptoContextBGVRNS> p;
        p.SetPlaintextModulus(plaintextModulus(needs));
        p.SetEvalAddCount(1 << (2 * room + 2));
        p.SetKeySwitchCount(1 << (2 * room + 2));
        return contextOf(p, needs.depth);
    }
    CCParams<CryptoContextBFVRNS> p;
    p.SetPlaintextModulus(plaintextModulus(needs));
    return contextOf(p, needs.depth + room);
}

class Session {
    adapter::Needs needs;
    CryptoContext<DCRTPoly> context;
    PrivateKey<DCRTPoly> secret; // of the client

    Plaintext encode(const Values &v) const {
        if (needs.reals()) return context->MakeCKKSPackedPlaintext(v);
        return context->MakePackedPlaintext(std::vector<int64_t>(v.begin(), v.end()));
    }

  public:
    using Choice = int; // room for noise
    using Ciphertext = lbcrypto::Ciphertext<DCRTPoly>;
    adapter::json about;
    size_t slots;
    uint64_t modulus;
    double work = 0;

    static std::vector<std::vector<Choice>> choices(const adapter::Needs &) {
        std::vector<std::vector<Choice>> all;
        for (int room = 0; room < mostRoom; room++) all.push_back({room});
        return all;
    }

    Session(const adapter::Needs &asked, int room) : needs(asked), modulus(plaintextModulus(asked)) {
        // OpenFHE keeps evaluation keys and contexts for the whole process.
        Context::ClearEvalMultKeys();
        Context::ClearEvalAutomorphismKeys();
        CryptoContextFactory<DCRTPoly>::ReleaseAllContexts();
        OpenFHEParallelControls.SetNumThreads(needs.threads);
        context = makeContext(needs, room);
        context->Enable(PKE);
        context->Enable(KEYSWITCH);
        context->Enable(LEVELEDSHE);

        const adapter::Clock clock;
        const auto keys = context->KeyGen();
        secret = keys.secretKey;
        context->EvalMultKeyGen(secret);
        if (!needs.rotations.empty()) context->EvalRotateKeyGen(secret, std::vector<int32_t>(needs.rotations.begin(), needs.rotations.end()));
        const double keygen = clock.seconds();

        // The server's keys are those of the wire.
        std::stringstream products(std::ios::in | std::ios::out | std::ios::binary), rotations(std::ios::in | std::ios::out | std::ios::binary);
        Context::SerializeEvalMultKey(products, SerType::BINARY);
        size_t bytes = products.str().size();
        Context::ClearEvalMultKeys();
        Context::DeserializeEvalMultKey(products, SerType::BINARY);
        if (!needs.rotations.empty()) {
            Context::SerializeEvalAutomorphismKey(rotations, SerType::BINARY);
            bytes += rotations.str().size();
            Context::ClearEvalAutomorphismKeys();
            Context::DeserializeEvalAutomorphismKey(rotations, SerType::BINARY);
        }

        const size_t degree = context->GetRingDimension();
        slots = needs.reals() ? degree / 2 : degree;
        const auto bits = context->GetCryptoParameters()->GetElementParams()->GetModulus().GetMSB();
        const std::string t = needs.reals() ? "-scale" + std::to_string(scaleBits) : "-t" + std::to_string(modulus);
        about = {
            {"set", "n" + std::to_string(degree) + "-q" + std::to_string(bits) + t + "-rot" + std::to_string(needs.rotations.size())},
            {"security_bits", 128},
            {"assumption", "128 bits: OpenFHE's HEStd_128_classic"},
            {"description", {{"degree", degree}, {"modulus_bits", bits}, {"room", room}, {"rotations", needs.rotations}}},
            {"keygen_seconds", keygen},
            {"evaluation_key_bytes", bytes},
            {"evaluation_key_memory_bytes", bytes},
            {"public_key_bytes", bytesOf(keys.publicKey).size()},
        };
    }

    std::string encrypt(const Values &v) const { return bytesOf(context->Encrypt(secret, encode(v))); }
    Values decrypt(const std::string &bytes) const {
        Plaintext p;
        context->Decrypt(secret, load(bytes), &p);
        p->SetLength(slots);
        if (needs.reals()) return p->GetRealPackedValue();
        const std::vector<int64_t> &whole = p->GetPackedValue();
        return Values(whole.begin(), whole.end());
    }
    Ciphertext load(const std::string &bytes) const { return read<Ciphertext>(bytes); }
    std::string store(const Ciphertext &c) const { return bytesOf(c); }

    // OpenFHE rescales and aligns levels by itself.
    Ciphertext add(const Ciphertext &a, const Ciphertext &b) const { return context->EvalAdd(a, b); }
    Ciphertext sub(const Ciphertext &a, const Ciphertext &b) const { return context->EvalSub(a, b); }
    Ciphertext mul(const Ciphertext &a, const Ciphertext &b) const { return a == b ? context->EvalSquare(a) : context->EvalMult(a, b); }
    Ciphertext mulPlain(const Ciphertext &a, const Values &v) const { return context->EvalMult(a, encode(v)); }
    Ciphertext addPlain(const Ciphertext &a, const Values &v) const { return context->EvalAdd(a, encode(v)); }
    Ciphertext rotate(const Ciphertext &a, int k) const { return context->EvalRotate(a, k); }
};

} // namespace

int main() {
    adapter::serve<Session>("openfhe", GetOPENFHEVersion(), "native", {"bgv", "bfv", "ckks"});
}
