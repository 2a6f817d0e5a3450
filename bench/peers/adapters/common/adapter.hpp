// What the adapters in C++ share: the protocol of bench/peers/README.md around a
// library's session. A Session is what a library makes for one set-up:
//
//   using Choice = …;                              parameters of at least 128 bits
//   using Ciphertext = …;                          copied as a value
//   static std::vector<std::vector<Choice>> choices(const adapter::Needs &);   by ring, the smallest first
//   Session(const adapter::Needs &, const Choice &);   keys; throws where the library refuses the choice
//   json about;                                    the answer to the set-up but for its capacity
//   size_t slots;
//   uint64_t modulus;                              of the plaintexts of BGV and BFV
//   double work;                                   of the operations so far, which tells choices of a ring apart
//   std::string encrypt(const Values &slots);      the client: bytes of the wire
//   Values decrypt(const std::string &bytes);
//   Ciphertext load(const std::string &bytes);     the server, which has no secret key
//   std::string store(const Ciphertext &);
//   Ciphertext add(a, b), sub(a, b), mul(a, b);    mul relinearises and rescales
//   Ciphertext mulPlain(a, Values), addPlain(a, Values), rotate(a, int k);   k slots to the left
#pragma once

#include <algorithm>
#include <chrono>
#include <iostream>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>

#include "programs.hpp"

namespace adapter {

using json = nlohmann::json;

/// What a set-up asks for.
struct Needs {
    std::string scheme; // bgv, bfv or ckks
    int depth;
    double max;
    std::vector<int> rotations;
    int threads;
    bool reals() const { return scheme == "ckks"; }
};

/// Times its life.
class Clock {
    std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();

  public:
    double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); }
};

/// The least prime of the form k·step + 1 above twice a bound, for slots of integers, where
/// a step is the order of a ring: noise grows with it.
inline uint64_t primeAbove(double max, uint64_t step) {
    for (uint64_t p = step + 1;; p += step) {
        if (double(p) <= 2 * max) continue;
        bool prime = true;
        for (uint64_t d = 3; prime && d * d <= p; d += 2) prime = p % d != 0;
        if (prime) return p;
    }
}

constexpr int trials = 4; // of parameters, with keys of their own
constexpr int margin = 4; // bits of noise that results of all trials could have more of

/// The work that the program takes in a trial, or infinitely much where its results do not keep the
/// margin: doubled as often, which doubles the noise, those of random slots, which are the
/// noisiest, still decrypt to what they should.
template <class Session> double workOf(Session &session, const std::string &workload, int size) {
    const Program &program = programs().at(workload);
    const int64_t half = int64_t(session.modulus) / 2;
    std::mt19937_64 random{std::random_device{}()};
    std::uniform_int_distribution<int64_t> slot(-half, half);
    std::vector<typename Session::Ciphertext> in;
    for (int i = 0; i < program.inputs(size); i++) {
        Values v(session.slots);
        for (double &x : v) x = double(slot(random));
        in.push_back(session.load(session.encrypt(v)));
    }
    Vectors<Session> vectors{session, program.stride(size), false};
    const auto out = vectors.compute(workload, size, in);
    const double work = session.work;
    for (auto c : out) {
        const Values once = session.decrypt(session.store(c));
        for (int i = 0; i < margin; i++) c = session.add(c, c);
        const Values often = session.decrypt(session.store(c));
        for (size_t i = 0; i < session.slots; i++)
            if (std::fmod(once[i] * (1 << margin) - often[i], double(session.modulus)) != 0) return std::numeric_limits<double>::infinity();
    }
    return work;
}

/// The choice with the least work of the smallest ring that has one whose trials are all
/// sound: the margin is 16 times their noise, more than noise varies. CKKS takes the first
/// that the library accepts: its noise is that of the scale.
template <class Session> typename Session::Choice choose(const Needs &needs, const std::string &workload, int size) {
    std::string refusal = "there are none";
    for (const auto &ring : Session::choices(needs)) {
        const typename Session::Choice *best = nullptr;
        double least = std::numeric_limits<double>::infinity();
        for (const auto &choice : ring) {
            try {
                double work = 0;
                for (int i = 0; i < trials && work < least; i++) {
                    Session session(needs, choice);
                    if (needs.reals()) return choice;
                    work = workOf(session, workload, size);
                }
                if (work < least) best = &choice, least = work;
            } catch (const std::exception &e) {
                refusal = e.what();
            }
        }
        if (best) return *best;
    }
    throw std::invalid_argument("no parameters have a margin of noise; the last that were refused: " + refusal);
}

/// Answers requests until the end of the input.
template <class Session>
void serve(const std::string &library, const std::string &version, const std::string &build, const std::vector<std::string> &schemes) {
    std::unique_ptr<Session> session;
    std::map<std::string, typename Session::Choice> chosen; // by scheme, workload and size: rounds have the same parameters
    std::string workload;
    bool reals = false;
    int size = 0;
    const auto describe = [&] {
        json offered = json::array();
        for (const std::string &scheme : schemes) {
            json names = json::array();
            for (const auto &[name, program] : programs())
                if (program.integers || scheme == "ckks") names.push_back(name);
            offered.push_back({{"scheme", scheme}, {"workloads", names}});
        }
        return json{{"protocol", 1}, {"library", library}, {"version", version}, {"build", build}, {"schemes", offered}};
    };
    const auto setup = [&](const json &request) {
        session.reset(); // before there are two sets of keys
        workload = request.at("workload"), size = request.at("size");
        const Program &program = programs().at(workload);
        const Needs needs{request.at("scheme"), program.depth, program.max(size), program.rotations(size), request.at("threads")};
        reals = needs.reals();
        const std::string job = needs.scheme + "/" + workload + "/" + std::to_string(size);
        if (!chosen.count(job)) chosen.emplace(job, choose<Session>(needs, workload, size));
        session = std::make_unique<Session>(needs, chosen.at(job));
        json answer = session->about;
        answer["capacity"] = session->slots / program.stride(size);
        return answer;
    };
    const auto run = [&](const json &request) {
        if (!session) throw std::logic_error("no set-up");
        const Program &program = programs().at(workload);
        const size_t stride = program.stride(size), perItem = program.results(size);
        std::vector<Values> slots; // of every ciphertext
        const json &items = request.at("items");
        if (items.size() * stride > session->slots) throw std::invalid_argument("more items than a batch has");
        for (size_t i = 0; i < items.size(); i++) {
            Values in;
            for (const std::string text : items[i]) in.push_back(std::stod(text));
            const std::vector<Values> vectors = program.split(size, in);
            slots.resize(vectors.size(), Values(session->slots));
            for (size_t c = 0; c < vectors.size(); c++)
                for (size_t k = 0; k < vectors[c].size(); k++) slots[c][i * stride + k] = vectors[c][k] / (reals ? std::exp2(program.bits) : 1);
        }

        const Clock encrypting;
        std::vector<std::string> sent;
        for (const Values &v : slots) sent.push_back(session->encrypt(v));
        const double encrypt = encrypting.seconds();

        std::vector<typename Session::Ciphertext> in;
        for (const std::string &bytes : sent) in.push_back(session->load(bytes));
        Vectors<Session> vectors{*session, int(stride), reals};
        const Clock computing;
        const auto out = vectors.compute(workload, size, in);
        const double compute = computing.seconds();
        std::vector<std::string> received;
        for (const auto &c : out) received.push_back(session->store(c));

        const Clock decrypting;
        std::vector<Values> got;
        for (const std::string &bytes : received) got.push_back(session->decrypt(bytes));
        const double decrypt = decrypting.seconds();
        json results = json::array();
        for (size_t i = 0; i < items.size(); i++) {
            json item = json::array();
            for (size_t c = 0; c < got.size(); c++)
                for (size_t v = 0; v < perItem; v++)
                    item.push_back(std::to_string(std::llround(got[c].at(i * stride + v) * (reals ? program.unit(c) : 1))));
            results.push_back(item);
        }
        const auto total = [](const std::vector<std::string> &all) {
            size_t n = 0;
            for (const std::string &bytes : all) n += bytes.size();
            return n;
        };
        return json{{"results", results}, {"seconds", {{"encrypt", encrypt}, {"compute", compute}, {"decrypt", decrypt}}},
                    {"request_bytes", total(sent)}, {"response_bytes", total(received)}, {"bootstraps", 0}};
    };
    for (std::string line; std::getline(std::cin, line);) {
        json answer;
        try {
            const json request = json::parse(line);
            const std::string command = request.at("command");
            if (command == "describe") answer = describe();
            else if (command == "setup") answer = setup(request);
            else if (command == "run") answer = run(request);
            else throw std::invalid_argument("there is no command " + command);
        } catch (const std::exception &e) {
            answer = {{"error", e.what()}};
        }
        std::cout << answer.dump() << std::endl;
    }
}

} // namespace adapter
